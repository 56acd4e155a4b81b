"""``labctl stop``: end a run, keeping what it recorded."""

from __future__ import annotations

import typer

from labctl.commands.options import RunArgument, say


def stop(run: RunArgument = None) -> None:
    """End a run: the host seals it as stopped, and it is fetched.

    Example: labctl stop
    """
    from labctl import follow, runs
    from labctl.commands.remote import line_to, page_of, summary
    from labctl.runner import rundir

    with line_to(run) as where:
        if where.session.read(f"{where.remote_dir}/{rundir.SUMS}") is not None:
            state = follow.status(where.session, where.remote_dir)
            typer.echo(f"{where.path.name} has ended already ({state})")
        else:
            say("stopping; this takes a few seconds")
        where.launcher.control(where.path.name, "stop")
        runs.fetch(where.session, where.remote_dir, where.path)
    page = page_of(where.path)
    summary(runs.load(where.path))
    typer.echo(f"report: {page}")
