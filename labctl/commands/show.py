"""``labctl show``: one run's figures and texts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import typer

from labctl.commands.options import JsonOption, RunArgument, print_json, print_table, run_path

if TYPE_CHECKING:
    from pathlib import Path


def sources(figure: dict[str, Any]) -> list[object]:
    """The sources of a figure; none where the record holds something else."""
    found = figure.get("sources")
    return found if isinstance(found, list) else []


def _texts(path: Path) -> None:
    """What was generated or answered."""
    from labctl.report import excerpts, load

    for text in excerpts.texts(load.read(path)):
        typer.echo(f"\n{text}")


def show(run: RunArgument = None, json: JsonOption = False) -> None:
    """Show a run: what it generated, its figures, each with the raw lines it came from, and its phases.

    Example: labctl show
    """
    from labctl import runs
    from labctl.commands.ending import summary

    found = runs.load(run_path(run))
    if json:
        print_json(dataclasses.asdict(found.record))
        return
    summary(found)
    figures = [
        {**figure, "figure": name, "from": ", ".join(map(str, sources(figure)[:3]))}
        for name, figure in found.record.metrics.items()
    ]
    if found.record.status == "running":
        typer.echo(f"it goes on; to follow it:\n  labctl attach {found.run_id}")
        return
    _texts(found.path)
    typer.echo("")
    print_table(figures, ["figure", "value", "unit", "low", "high", "n", "from"], cut=False)
    typer.echo("")
    print_table(found.record.phases, ["name", "start", "seconds", "reported_s", "source"], cut=False)
