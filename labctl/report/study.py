"""The page of a study: one row a point, the effect of what was varied, and the way to each run's own report."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from labctl.report import cards, render, study_load
from labctl.report.blocks import Cell, Plot, Section, cell, table
from labctl.report.draw import study as draw
from labctl.report.draw.axes import point as drawn_point
from labctl.report.study_load import distinct, shown
from labctl.report.text import DASH, line
from labctl.runs import THROUGHPUTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labctl.report.blocks import Block
    from labctl.report.draw.axes import Point as Drawn
    from labctl.report.study_load import Point, Study

# Column, the figures of which the first known one is shown, whether the effect on it is drawn.
COLUMNS = (
    ("KV blocks", ("kv_blocks",), True),
    ("block size", ("kv_block_size",), False),
    ("KV tokens", ("kv_tokens",), False),
    ("concurrency", ("kv_max_concurrency",), False),
    ("weights", ("model_load_gib",), False),
    ("peak memory", ("peak_gpu_memory", "peak_rss"), False),
    ("start-up", ("startup",), True),
    ("throughput", THROUGHPUTS, True),
    ("latency", ("latency", "latency_continuous"), True),
    ("first token", ("ttft", "ttft_continuous"), False),
)
TICKS = 40
COUNTS = {"blocks", "tokens"}  # units that the heading says
WHY = "A point that could not be run is a result too"
RANDOM = "Random weights of the true architecture: the speed is that of the architecture."


def build(path: Path) -> Path:
    """Write the page of ``studies/ID.json`` into ``studies/ID/`` and return its path (study.html, study.md beside).

    The points' figures are read from ``../runs/RUN/record.json``. Raises OSError where the study is not there or
    nothing can be written; whatever else is missing or broken is said on the page.
    """
    render.warm()
    study = study_load.read(path)
    sections = [section for section in (_points(study), _effect(study)) if section]
    host, lab = line(study.told.get("host"), 80), line(study.told.get("lab"), 80)
    counts = {status: sum(one.status == status for one in study.points) for status in ("ok", "failed", "refused")}
    context = {
        "study": line(study.told.get("study"), 120) or path.stem,
        "lab": lab,
        "host": host,
        "made": line(study.told.get("made_utc"), 40),
        "vllm": line(study.told.get("vllm"), 40),
        "counts": f"{len(study.points)} points, {counts['ok']} finished, "
        f"{counts['failed'] + counts['refused']} impossible or failed",
        "synthetic": RANDOM if any(one.synthetic for one in study.points) else "",
        "sections": sections,
        "notes": study.notes,
    }
    return render.write(path.parent / path.stem, "study", context, [one for part in sections for one in part.plots()])


def _points(study: Study) -> Section | None:
    if not study.points:
        return None
    keys = short(study.keys)
    head = (*keys.values(), "status", *(label for label, _, _ in COLUMNS), "run")
    first = len(study.keys) + 1
    rows = [_row(study, one) for one in study.points]
    blocks: list[Block] = [table(head, rows, numeric=range(first, first + len(COLUMNS)))]
    if wrong := [one for one in study.points if one.error]:
        whys = [[*_values(study, one), cell(one.status), cell(one.error)] for one in wrong]
        blocks.append(table((*keys.values(), "status", "why"), whys, caption=WHY))
    return Section("points", "Points", tuple(blocks))


def short(keys: Sequence[str]) -> dict[str, str]:
    """{key: the last part of its name}, whole where two would be the same."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: line(name if last.count(name) == 1 else key, 60) for key, name in zip(keys, last, strict=True)}


def _values(study: Study, one: Point) -> list[Cell]:
    return [cell(shown(one.value(key)), mono=True) for key in study.keys]


def _row(study: Study, one: Point) -> list[Cell]:
    page = cards.Source(one.run, one.page) if one.page else None
    figures = [_figure(one, names, page) for _, names, _ in COLUMNS]
    return [*_values(study, one), cell(one.status), *figures, cell("report" if page else one.run, source=page)]


def metric(one: Point, names: tuple[str, ...]) -> dict[str, Any]:
    """The first figure of these names that has a value; empty where none has."""
    return next((found for name in names if (found := one.metrics.get(name, {})).get("value") is not None), {})


def _figure(one: Point, names: tuple[str, ...], page: cards.Source | None) -> Cell:
    found = cards.figure("", metric(one, names), {})
    unit = "" if found.unit in COUNTS else found.unit
    return Cell(f"{found.value} {unit}".strip(), found.spread, page) if found.known else Cell(DASH)


def _effect(study: Study) -> Section | None:
    """Plots over the setting that was varied first; the others' combinations are lines."""
    if not study.keys:
        return None
    key = study.keys[0]
    values = distinct(study.points, key)[:TICKS]
    places = {shown(value): place for place, value in enumerate(values, 1)}
    panels = {}
    for label, names, is_drawn in COLUMNS:
        unit = next((str(found["unit"]) for one in study.points if (found := metric(one, names)).get("unit")), "")
        title = plain(f"{label}{f', {unit}' if unit and unit not in COUNTS else ''}")
        panels[title] = _lines(study, names, places) if is_drawn else {}
    drawn = draw.effect(panels, [plain(shown(value)) for value in values], plain(key))
    if drawn is None:
        return None
    plot = Plot(
        "study", drawn, "The effect of what was varied", f"Over {line(key, 60)}; only points that were measured."
    )
    return Section("effect", "Effect", (plot,))


def _lines(study: Study, names: tuple[str, ...], places: dict[str, int]) -> dict[str, list[Drawn]]:
    lines: dict[str, list[Drawn]] = {}
    for one in study.points:
        others = ", ".join(f"{key.rpartition('.')[2]}={shown(one.value(key))}" for key in study.keys[1:])
        place = places.get(shown(one.value(study.keys[0])))
        if found := drawn_point(place, metric(one, names)):
            lines.setdefault(plain(others) or "measured", []).append(found)
    return lines


def plain(text: str) -> str:
    """Words for a drawing, which takes plain ASCII alone, and little of it."""
    folded = unicodedata.normalize("NFKD", line(text, 32)).encode("ascii", "replace").decode()
    return folded.replace("$", "")
