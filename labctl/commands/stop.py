"""``labctl stop``: end a run, keeping what it recorded."""

from __future__ import annotations

import typer

from labctl.commands.options import RunArgument, RunHostOption, say


def stop(run: RunArgument = None, host: RunHostOption = None) -> None:
    """End a run: the host seals it as stopped, and it is fetched.

    Example: labctl stop
    """
    from labctl import follow, runs, transfer
    from labctl.commands.ending import summary
    from labctl.commands.remote import line_to, page_of
    from labctl.runner import rundir

    with line_to(run, host) as where:
        if where.session.wait(f"{where.remote_dir}/{rundir.SUMS}", 0):
            state = follow.status(where.session, where.remote_dir)
            say(f"{where.path.name} has ended already ({state})")
        else:
            say("stopping; this takes a few seconds")
        where.launcher.control(where.path.name, "stop")
        transfer.fetch(where.session, where.remote_dir, where.path)
    page = page_of(where.path)
    summary(runs.load(where.path))
    typer.echo(f"report: {page}")
