"""``labctl attach``: follow a run that was left."""

from __future__ import annotations

import typer

from labctl.commands.options import PatienceOption, RunArgument, RunHostOption


def attach(run: RunArgument = None, host: RunHostOption = None, patience: PatienceOption = 60.0) -> None:
    """Follow a run to its end, fetch it and build its report; with --host one that was started from elsewhere.

    Example: labctl attach
    """
    from labctl import fleet, runs
    from labctl.commands.board import Board
    from labctl.commands.ending import finish
    from labctl.commands.remote import accompany, detached, known_run, line_to, page_of, warm
    from labctl.runner import rundir

    target, path = known_run(run, host)
    if path and (path / rundir.SUMS).is_file() and not runs.check_sums(path):
        page_of(path)  # it is here, whole: the host may be gone
        finish(path)
        return
    board, seen = Board([target]), []
    warm()
    board.hint()

    def follow(_target: object, leave: fleet.Leave) -> None:
        with board.watching(target.name), line_to(run, host) as where:
            seen.append(where.path)
            accompany(where, board, leave, patience)

    try:
        with board:
            [outcome] = fleet.each([target], follow, board.tick)
    except KeyboardInterrupt:
        raise typer.Exit(detached([path.name for path in seen])) from None
    if outcome.error is not None:
        raise outcome.error
    finish(seen[0])
