"""``labctl attach``: follow a run that was left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from labctl.commands.options import PatienceOption, RunArgument, RunHostOption

if TYPE_CHECKING:
    from labctl.commands.board import Board
    from labctl.fleet import Leave


def attach(run: RunArgument = None, host: RunHostOption = None, patience: PatienceOption = 60.0) -> None:
    """Follow a run to its end, fetch it and build its report; with --host one that was started from elsewhere.

    Example: labctl attach
    """
    from labctl import seals
    from labctl.commands.ending import finish
    from labctl.commands.remote import accompany, detached, known_run, line_to, page_of, shown, warm
    from labctl.runner import rundir

    target, path = known_run(run, host)
    if path and (path / rundir.SUMS).is_file() and not seals.check_sums(path):
        page_of(path)  # it is here, whole: the host may be gone
        finish(path)
        return
    seen = [path] if path else []

    def follow(board: Board, leave: Leave) -> None:
        with line_to(run, host) as where:
            seen[:] = [where.path]
            accompany(where, board, leave, patience)

    warm()
    try:
        shown(target, follow, hint=True)
    except KeyboardInterrupt:
        raise typer.Exit(detached(seen)) from None
    finish(seen[0])
