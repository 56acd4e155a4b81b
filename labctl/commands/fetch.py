"""``labctl fetch``: bring a run home."""

from __future__ import annotations

import typer

from labctl.commands.options import RunArgument, say


def fetch(run: RunArgument = None) -> None:
    """Fetch a run: sealed and verified where it has ended, as far as it got where it goes on.

    Example: labctl fetch
    """
    from labctl import runs
    from labctl.commands.remote import line_to
    from labctl.runner import rundir

    with line_to(run) as where:
        where.launcher.control(where.path.name, "seal")
        if where.session.read(f"{where.remote_dir}/{rundir.SUMS}") is None:
            runs.mirror(where.session, where.remote_dir, where.path)
            say(f"the run goes on; to follow it:\n  labctl attach {where.path.name}")
        else:
            runs.fetch(where.session, where.remote_dir, where.path)
            say(f"sealed and verified: {runs.load(where.path).record.status}")
        typer.echo(str(where.path))
