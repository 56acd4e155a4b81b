"""A study as read: its grid, and what the record of each point's run says. Defensive: a host made the records."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labctl.report.raw import Raw, objects
from labctl.report.text import as_json, line
from labctl.runner import record as records
from labctl.runner import rundir

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.report.raw import Row

MOST = 500  # points
_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,120}")  # no path


@dataclass(slots=True)
class Point:
    """One combination of values; ``metrics`` and ``model`` of its run, empty where there is none."""

    values: dict[str, Any]
    run: str
    status: str
    error: str
    page: str = ""
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    synthetic: bool = False

    def value(self, key: str) -> object:
        """What a varied setting was here."""
        return self.values.get(key)


@dataclass(slots=True)
class Study:
    """``keys``: what was varied, in the order of the grid; ``told``: the file as it is."""

    told: Row
    keys: list[str]
    points: list[Point]
    notes: list[str]


def read(path: Path) -> Study:
    """Read ``studies/ID.json`` and the records of its runs in ``../runs``. Raises OSError where it is not there."""
    notes: list[str] = []
    if not path.is_file():
        raise FileNotFoundError(2, "there is no such study", str(path))
    told = Raw(path.parent, notes).object(path.name)
    vary = told.get("vary")
    axes = [axis for axis in vary if isinstance(axis, list) and axis] if isinstance(vary, list) else []
    keys = [str(axis[0]) for axis in axes]
    rows = objects(told.get("points"))
    if len(rows) > MOST:
        notes.append(f"The study has {len(rows):,} points: {MOST} of them are shown.")
    runs_dir = path.parent.parent / "runs"
    return Study(told, keys, [_point(row, runs_dir, notes) for row in rows[:MOST]], notes)


def _point(row: Row, runs_dir: Path, notes: list[str]) -> Point:
    values, name = row.get("values"), row.get("run")
    run = name if isinstance(name, str) and _RUN_ID.fullmatch(name) else ""
    point = Point(
        values=values if isinstance(values, dict) else {},
        run=run,
        status=line(row.get("status"), 30) or "unknown",
        error=line(row.get("error"), 600),
    )
    if run:
        _add_record(point, runs_dir / run, notes)
    return point


def _add_record(point: Point, run_dir: Path, notes: list[str]) -> None:
    text = Raw(run_dir, []).text(rundir.RECORD)
    if text is None:
        notes.append(f"{point.run} is not here: its figures are missing.")
        return
    try:
        told = records.from_json(text)
    except records.RecordError as error:
        notes.append(f"{point.run}: {error}.")
        return
    point.metrics = told.metrics
    point.synthetic = bool((told.model or {}).get("synthetic"))
    if (run_dir / "report" / "report.html").is_file():
        point.page = f"../../runs/{point.run}/report/report.html"


def shown(value: object) -> str:
    """A value of the grid as one would type it."""
    return line(value if isinstance(value, str) else as_json(value), 80)


def distinct(points: list[Point], key: str) -> list[object]:
    """The values of a setting over the points, each once, in their order."""
    found: dict[str, object] = {}
    for point in points:
        found.setdefault(json.dumps(point.value(key), default=str, sort_keys=True), point.value(key))
    return list(found.values())
