"""``vllm bench serve``: latencies and throughput at each load, goodput, cache hits and failures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.report.amounts import finite, number, seconds
from labctl.report.blocks import Fold, Plot, Section, Words, cell, table
from labctl.report.draw import serve_bench as draw
from labctl.report.draw.axes import point
from labctl.report.serve_points import LATENCIES, loads, points, statistics
from labctl.report.text import clean, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labctl.report.blocks import Block
    from labctl.report.draw.axes import Point as Drawn
    from labctl.report.serve_points import Load, Point
    from labctl.report.shown import Shown

# Column -> figure, and whether its note is worth a second line.
COLUMNS = (
    ("done", "completed", False), ("failed", "failed", False), ("requests", "request_rate", False),
    ("output", "throughput", False), ("with prompts", "total_throughput", False), ("goodput", "goodput", False),
    ("prefix cache hits", "prefix_hits", True),
)  # fmt: skip
LINES = {"median": "", "p99": "_p99"}
MOST = 10  # statistics in a table
LATENCY = "Median and 99th percentile over the requests of a load; of a load measured several times the median of each."
WHOLE = "What vLLM's own client reported of each run, in full"


def section(shown: Shown) -> Section | None:
    """Plots and tables of the loads; None where no point left a file."""
    found, measured = points(shown), loads(shown)
    if not found and not measured:
        return None
    blocks: list[Block] = [_loads(shown, measured)] if measured else []
    blocks += [Words(text, "faint") for text in (_slo(shown), _flagged(shown)) if text]
    blocks += _plots(shown, measured)
    if found:
        blocks.append(Fold(WHOLE, (_latencies(shown, found), _runs(shown, found)), unfolded=not measured))
    return Section("serve-bench", "Benchmark of the server", tuple(blocks))


def _loads(shown: Shown, measured: Sequence[Load]) -> Block:
    head = ("load", *(label for label, _, _ in COLUMNS))
    rows = [
        [cell(one.words), *(shown.cell(f"{name}_{one.suffix}", note=note) for _, name, note in COLUMNS)]
        for one in measured
    ]
    return table(head, rows, numeric=range(1, len(head)))


def _slo(shown: Shown) -> str:
    """What goodput counts, from the spec."""
    limits = getattr(shown.run.spec.workload, "goodput", None) if shown.run.spec else None
    if not limits:
        return ""
    named = ", ".join(f"{line(name, 20)} within {number(limit)} ms" for name, limit in limits.items())
    return f"Goodput counts the requests a second that kept to all of: {named}."


def _flagged(shown: Shown) -> str:
    metric = shown.figure("flagged_points")
    return f"Flagged: {clean(metric.get('note'), 1000)}" if finite(metric.get("value")) else ""


def _plots(shown: Shown, measured: Sequence[Load]) -> list[Block]:
    made: list[Block] = []
    rated = any(one.suffix.startswith("r") for one in measured)
    label = "requests a second asked for" if rated else "requests at once (concurrency)"
    rates = {
        "output tokens": _line(shown, measured, "throughput"),
        "with prompt tokens": _line(shown, measured, "total_throughput"),
    }
    if drawn := draw.throughput(rates, label):
        made.append(Plot("serve-throughput", drawn, "Throughput over the load"))
    panels = {
        title: {name: _line(shown, measured, f"{kind}{suffix}") for name, suffix in LINES.items()}
        for kind, title in LATENCIES.items()
    }
    if drawn := draw.latencies(panels, label):
        made.append(Plot("serve-latency", drawn, "Latency percentiles over the load", LATENCY))
    return [*made, *_waits(shown, measured)]


def _line(shown: Shown, measured: Sequence[Load], name: str) -> list[Drawn]:
    """A figure over the loads; of a run with loads of both kinds those of the first kind alone."""
    kind = measured[0].suffix[0] if measured else ""
    of_kind = [one for one in measured if one.suffix.startswith(kind)]
    return [drawn for one in of_kind if (drawn := point(one.x, shown.figure(f"{name}_{one.suffix}")))]


def _waits(shown: Shown, measured: Sequence[Load]) -> list[Block]:
    head = ("load", *(f"{kind.upper()}, {name}" for kind in LATENCIES for name in LINES))
    rows = [
        [cell(one.words), *(shown.cell(f"{kind}{add}_{one.suffix}") for kind in LATENCIES for add in LINES.values())]
        for one in measured
    ]
    return [table(head, rows, numeric=range(1, len(head)))] if rows else []


def _latencies(shown: Shown, found: Sequence[Point]) -> Block:
    names = statistics(list(found))[:MOST]
    head = ("latency, ms", "load", *names)
    rows = [
        [
            cell(title),
            cell(one.words),
            *(cell(number(one.told.get(f"{name}_{kind}_ms")), source=shown.source(one.file)) for name in names),
        ]
        for kind, title in LATENCIES.items()
        for one in found
        if any(finite(one.told.get(f"{name}_{kind}_ms")) is not None for name in names)
    ]
    return table(head, rows, numeric=range(2, len(head)))


RUNS = (
    ("done", "completed"), ("failed", "failed"), ("requests/s", "request_throughput"),
    ("output tok/s", "output_throughput"), ("goodput, requests/s", "request_goodput"),
)  # fmt: skip


def _runs(shown: Shown, found: Sequence[Point]) -> Block:
    head = ("file", "load", "took", *(label for label, _ in RUNS))
    rows = [
        [
            cell(one.file, source=shown.source(one.file), mono=True),
            cell(one.words),
            cell(seconds(one.told.get("duration"))),
            *(cell(number(one.told.get(key))) for _, key in RUNS),
        ]
        for one in found
    ]
    return table(head, rows, numeric=range(2, len(head)))
