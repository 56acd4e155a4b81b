"""``labctl verify``: whether a run still holds what its host sealed, and its figures follow from it."""

from __future__ import annotations

import typer

from labctl.commands.options import JsonOption, RunArgument, print_json, run_path
from labctl.errors import EXIT_RUN_FAILED


def verify(run: RunArgument = None, json: JsonOption = False) -> None:
    """Recompute every checksum and every figure of a run from its raw files.

    Exit status: 0 all hold, 1 something does not, 9 the run cannot be read. Checksums prove integrity, not
    authorship: who can write the run can seal it anew.

    Example: labctl verify
    """
    from labctl import runs, seals, verification
    from labctl.report.text import line

    found = runs.load(run_path(run))
    problems = verification.problems(found)
    files, figures = len(seals.manifest(found.path)), len(found.record.metrics)
    if json:
        print_json({"run": found.run_id, "files": files, "figures": figures, "problems": problems})
    else:
        for problem in problems:
            typer.echo(f"FAIL  {line(problem, 400)}")
        typer.echo(f"{found.run_id}: {files} checksums and {figures} figures checked, {len(problems)} problems")
        typer.echo("Checksums prove integrity, not authorship; local/ and report/ are not sealed.")
    if problems:
        raise typer.Exit(EXIT_RUN_FAILED)
