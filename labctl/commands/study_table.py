"""A study as a table: a point a row, with the figures of its run that a change of settings shows in.

The columns are those of the study's page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from labctl.commands.options import print_table
from labctl.grids import text_of
from labctl.report.text import line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labctl.report.study_load import Point as Told
    from labctl.studies import Study


def rows(study: Study, path: Path) -> list[dict[str, Any]]:
    """Each point as plain data: values, run, status, error, and the figures of its run as {name: value}."""
    from labctl.report import study_load

    told = study_load.read(path).points
    return [
        {"values": one.values, "run": one.run, "status": one.status, "error": one.error, "figures": _values(there)}
        for one, there in zip(study.points, told, strict=True)
    ]


def _values(point: Told) -> dict[str, Any]:
    return {name: one.get("value") for name, one in point.metrics.items() if one.get("value") is not None}


def show(study: Study, path: Path) -> None:
    """Print the table of the study in ``path``, then what was wrong with single points."""
    from labctl.report import study_load
    from labctl.report.study import COLUMNS, short

    told = study_load.read(path).points
    keys = short([str(key) for key, _ in study.vary])
    words = {key: _namer([text_of(one.values.get(key)) for one in study.points]) for key in keys}
    shown = []
    for one, there in zip(study.points, told, strict=True):
        varied = {name: words[key](text_of(one.values.get(key))) for key, name in keys.items()}
        figures = {label: _amount(there, names) for label, names, _ in COLUMNS}
        shown.append({**varied, "status": one.status, **figures, "run": one.run})
    labels = [label for label, _, _ in COLUMNS if any(row[label] for row in shown)]
    print_table(shown, [*keys.values(), "status", *labels, "run"], cut=False)
    for one, row in zip(study.points, shown, strict=True):
        if one.error:
            values = " ".join(f"{name}={row[name]}" for name in keys.values())
            typer.echo(f"{line(values)}: {one.status}: {line(one.error, 500)}")


def _namer(texts: list[str]) -> Callable[[str], str]:
    """How a value is written: folders by their last names, where these tell them apart."""
    names = {text: text.rstrip("/").rpartition("/")[2] if text.startswith("/") else text for text in texts}
    apart = len(set(names.values())) == len(names)
    return lambda text: names[text] if apart else text


def _amount(point: Told, names: tuple[str, ...]) -> str:
    """The first known one of some figures, with its unit; an empty text where none is known."""
    from labctl.report import cards
    from labctl.report.study import COUNTS, metric

    found = cards.figure("", metric(point, names), {})
    unit = "" if found.unit in COUNTS else found.unit
    return f"{found.value} {unit}".strip() if found.known else ""
