"""``labctl report``: the page of a run, built again."""

from __future__ import annotations

import typer

from labctl.commands.options import RunArgument


def report(run: RunArgument = None) -> None:
    """Build report.html and report.md of a run (a run id or any run directory; no host is needed).

    Example: labctl report
    """
    from labctl import seals
    from labctl.commands.ending import near
    from labctl.commands.options import run_path, say
    from labctl.commands.remote import page_of
    from labctl.report.text import line
    from labctl.runner import rundir

    path = run_path(run)
    if (path / rundir.SUMS).is_file():
        for problem in seals.check_sums(path):
            say(f"warning: {line(problem, 300)}")
    typer.echo(f"report: {near(page_of(path))}")
