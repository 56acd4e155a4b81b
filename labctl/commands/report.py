"""``labctl report``: the page of a run, built again."""

from __future__ import annotations

import typer

from labctl.commands.options import RunArgument


def report(run: RunArgument = None) -> None:
    """Build report.html and report.md of a run (a run id or any run directory; no host is needed).

    Example: labctl report
    """
    from pathlib import Path

    from labctl import runs
    from labctl.commands.options import project
    from labctl.commands.remote import page_of
    from labctl.runner import rundir

    path = Path(run) if run and (Path(run) / rundir.SPEC).is_file() else runs.find(project().runs_dir, run)
    typer.echo(f"report: {page_of(path)}")
