"""``labctl verify``: whether a run still holds what its host sealed, and its figures follow from it."""

from __future__ import annotations

import json as jsonlib

import typer

from labctl.commands.options import JsonOption, RunArgument, print_json, project
from labctl.errors import EXIT_RUN_FAILED


def verify(run: RunArgument = None, json: JsonOption = False) -> None:
    """Recompute every checksum and every figure of a run from its raw files.

    Exit status: 0 all hold, 1 something does not, 9 the run cannot be read. Checksums prove integrity, not
    authorship.

    Example: labctl verify
    """
    from labctl import runs
    from labctl.runner import figures, phases, rundir

    found = runs.load(runs.find(project().runs_dir, run))
    problems = runs.check_sums(found.path)
    sealed = len(runs.manifest(found.path))
    if found.record.spec_sha256 != rundir.sha256(found.path / rundir.SPEC):
        problems.append("the record was made for another spec.json")
    # Through JSON, as the record went: floats, tuples and None compare alike then.
    again = jsonlib.loads(jsonlib.dumps(figures.compute(found.path)))
    for name in sorted(set(again) | set(found.record.metrics)):
        if again.get(name) != found.record.metrics.get(name):
            problems.append(f"figure {name} does not follow from the raw files")
    if jsonlib.loads(jsonlib.dumps(phases.timeline(found.path))) != found.record.phases:
        problems.append("the phases do not follow from the raw files")
    if json:
        print_json({"run": found.run_id, "files": sealed, "figures": len(again), "problems": problems})
    else:
        for problem in problems:
            typer.echo(f"FAIL  {problem}")
        typer.echo(f"{found.run_id}: {sealed} checksums and {len(again)} figures checked, {len(problems)} problems")
    if problems:
        raise typer.Exit(EXIT_RUN_FAILED)
