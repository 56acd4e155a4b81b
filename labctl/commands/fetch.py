"""``labctl fetch``: bring a run home."""

from __future__ import annotations

import typer

from labctl.commands.options import RunArgument, RunHostOption, say


def fetch(run: RunArgument = None, host: RunHostOption = None) -> None:
    """Fetch a run: sealed and verified where it has ended, as far as it got where it goes on.

    Example: labctl fetch
    """
    from labctl import runs, transfer
    from labctl.commands.remote import line_to
    from labctl.runner import rundir

    with line_to(run, host) as where:
        where.launcher.control(where.path.name, "seal")
        files = transfer.mirror(where.session, where.remote_dir, where.path)
        if rundir.SUMS in files:
            transfer.fetch(where.session, where.remote_dir, where.path)
            say(f"sealed and verified: {runs.load(where.path).record.status}")
        else:
            say(f"the run goes on; to follow it:\n  labctl attach {where.path.name}")
        typer.echo(str(where.path))
