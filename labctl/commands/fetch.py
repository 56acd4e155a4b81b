"""``labctl fetch``: bring a run home."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from labctl.commands.options import RunArgument, RunHostOption, say

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.commands.board import Board
    from labctl.fleet import Leave


def fetch(run: RunArgument = None, host: RunHostOption = None) -> None:
    """Fetch a run: sealed and verified where it has ended, as far as it got where it goes on.

    Example: labctl fetch
    """
    from labctl import runs, transfer
    from labctl.commands.remote import known_run, line_to, shown
    from labctl.runner import rundir

    target, _ = known_run(run, host)

    def bring(board: Board, _leave: Leave) -> tuple[Path, bool]:
        with line_to(run, host) as where:
            board.state(target.name, "fetching")
            where.launcher.control(where.path.name, "seal")
            sealed = rundir.SUMS in transfer.mirror(where.session, where.remote_dir, where.path)
            if sealed:
                transfer.fetch(where.session, where.remote_dir, where.path)
            return where.path, sealed

    path, sealed = shown(target, bring)
    if sealed:
        say(f"sealed and verified: {runs.load(path).record.status}; its report:\n  labctl report {path.name}")
    else:
        say(f"the run goes on; to follow it:\n  labctl attach {path.name}")
    typer.echo(str(path))
