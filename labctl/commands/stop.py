"""``labctl stop``: end a run, keeping what it recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from labctl.commands.options import RunArgument, RunHostOption, say

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.commands.board import Board
    from labctl.fleet import Leave


def stop(run: RunArgument = None, host: RunHostOption = None) -> None:
    """End a run: the host seals it as stopped, and it is fetched.

    Example: labctl stop
    """
    from labctl import follow, runs, transfer
    from labctl.commands.ending import near, report_of, summary
    from labctl.commands.remote import known_run, line_to, page_of, shown
    from labctl.runner import rundir

    target, _ = known_run(run, host)

    def end(board: Board, _leave: Leave) -> tuple[Path, str | None]:
        with line_to(run, host) as where:
            ended = where.session.wait(f"{where.remote_dir}/{rundir.SUMS}", 0)
            state = follow.status(where.session, where.remote_dir) if ended else None
            board.state(target.name, "fetching" if ended else "stopping")
            where.launcher.control(where.path.name, "stop")
            transfer.fetch(where.session, where.remote_dir, where.path)
            page_of(where.path)
            return where.path, state

    path, before = shown(target, end)
    if before is not None:
        say(f"{path.name} has ended already ({before})")
    ended_run = runs.load(path)
    summary(ended_run)
    if ended_run.spec.span:
        for name, part in zip(ended_run.spec.span.hosts, ended_run.spec.span.runs, strict=True):
            if part != path.name:
                say(f"its part on {name} ends too:\n  labctl fetch {part}")
    typer.echo(f"report: {near(report_of(path))}")
