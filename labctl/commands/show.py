"""``labctl show``: one run's figures."""

from __future__ import annotations

import dataclasses

import typer

from labctl.commands.options import JsonOption, RunArgument, print_json, print_table, project


def show(run: RunArgument = None, json: JsonOption = False) -> None:
    """Show a run: its figures, each with the raw lines it came from, and its phases.

    Example: labctl show
    """
    from labctl import runs
    from labctl.commands.remote import summary

    found = runs.load(runs.find(project().runs_dir, run))
    if json:
        print_json(dataclasses.asdict(found.record))
        return
    summary(found)
    figures = [
        {"figure": name, **figure, "from": ", ".join(map(str, (figure.get("sources") or ())[:3]))}
        for name, figure in found.record.metrics.items()
    ]
    typer.echo("")
    print_table(figures, ["figure", "value", "unit", "low", "high", "n", "from"])
    typer.echo("")
    print_table(found.record.phases, ["name", "start", "seconds", "reported_s", "source"])
