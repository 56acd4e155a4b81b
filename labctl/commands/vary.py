"""``labctl run LAB --vary …`` (or a lab with ``[vary]``): one study a host, led from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from labctl.commands.options import print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labctl.commands.options import Project
    from labctl.grids import Axis
    from labctl.inventory import Host
    from labctl.studies import Study


def plans(
    lab: Mapping[str, Any], targets: Sequence[Host], varied: Sequence[Axis], **asked: Mapping[str, Any]
) -> list[Study]:
    """A study for each host, not yet written; ``asked``: ``over`` and ``env``. Raises UsageError."""
    from labctl import drivers, needs, studies

    made = []
    for target in targets:
        vllm = drivers.version(target.vars.get("vllm_version"))
        needs.of_version(lab, vllm)
        made.append(studies.plan(lab, target.name, vllm, varied, **asked))
    return made


def dry(found: Sequence[Study], *, json: bool) -> None:
    """Print the points of each study; the impossible ones with the reason."""
    from labctl.grids import words

    if json:
        told = [{"host": one.host, "lab": one.lab, "vary": one.vary, "points": _points(one)} for one in found]
        print_json(told[0] if len(told) == 1 else told)
        return
    for one in found:
        typer.echo(f"{one.lab} on {one.host}: {len(one.points)} points")
        rows = [
            {"": number, "point": words(point.values), "note": point.error}
            for number, point in enumerate(one.points, 1)
        ]
        print_table(rows, ["", "point", "note"], cut=False)


def _points(one: Study) -> list[dict[str, Any]]:
    from dataclasses import asdict

    return [
        {
            "values": point.values,
            "error": point.error,
            "spec": None if point.error else asdict(one.spec(point, one.vllm)),
        }
        for point in one.points
    ]


def begin(place: Project, found: Sequence[Study], targets: Sequence[Host], *, patience: float, json: bool) -> None:
    """Write the studies and lead them to their ends."""
    from labctl import study_files
    from labctl.commands.options import say
    from labctl.commands.study import lead

    for one in found:
        study_files.create(place.runs_dir, one)
        say(f"study: {one.study}, {len(one.points)} points")
    lead(found, targets, patience=patience, json=json)
