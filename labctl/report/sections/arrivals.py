"""Batching seen: the same load served continuously, in static batches and one request after another."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labctl.report.amounts import number
from labctl.report.blocks import Plot, Section, Words, cell, table
from labctl.report.draw import arrivals as draw
from labctl.report.lives import WAYS, lives, series, starts
from labctl.report.text import clean, line
from labctl.runner.rundir import ARRIVALS

if TYPE_CHECKING:
    from labctl.report.blocks import Block
    from labctl.report.raw import Row
    from labctl.report.shown import Shown

SERIES = "metrics/series.jsonl"
FAILURES, FIGURES = 20, 60  # shown
LIVES = (
    "One bar a request, from its arrival to its last token, drawn from arrivals.jsonl. Arrivals and lengths are the "
    "same in each way; the time axis is common."
)
ONCE = "Each way was measured once: run the lab again to see how far its figures vary."
LOAD = "From the server's own /metrics, five times a second (metrics/series.jsonl)."
REQUESTS = (("running", "running", 1.0), ("waiting", "waiting", 1.0))
CACHE = (("kv_usage", "in use", 100.0),)
# Figure -> what it says; ratios of throughput, then of mean latency from the arrival on.
RATIOS = {
    "ratio_static": "Continuous batching: {} times the throughput of static batches.",
    "ratio_alone": "Continuous batching: {} times the throughput of one request after another.",
    "latency_ratio_static": "Static batches: {} times the mean latency of continuous batching.",
    "latency_ratio_alone": "One after another: {} times the mean latency of continuous batching.",
}
NAMES = {
    "makespan": "until the last was done", "throughput": "throughput", "latency": "from arrival to last token, mean",
    "latency_p99": "the same, 99th percentile", "ttft": "from arrival to first token, mean",
    "running": "running at once, most", "waiting": "waiting in the server, most", "kv_usage": "KV cache in use, peak",
    "failed": "failed", "prefix_hits": "prefix cache hits",
}  # fmt: skip
OF_WAY = re.compile(rf"([a-z0-9_]+)_({'|'.join(WAYS)})")


def section(shown: Shown) -> Section | None:
    """The lives, the load and the ratios; None for a run without arrivals."""
    raw = shown.run.raw
    rows = raw.rows(ARRIVALS, needed=shown.run.kind == "arrivals")
    if not rows:
        return None
    ratios = [Words(text) for text in in_words(shown)]
    remarks = "; ".join(caveats(shown))
    blocks: list[Block] = [*ratios, Words(f"{ONCE}{f' Of the ratios: {remarks}.' if remarks else ''}", "faint")]
    if drawn := draw.lives({way: lives(rows, way) for way in WAYS}):
        blocks.append(Plot("lives", drawn, "The life of each request, in each way of batching", LIVES))
    blocks += _ways(shown)
    began = starts(shown.run.events)
    told = raw.rows(SERIES)
    load = {way: (series(told, way, t, REQUESTS), series(told, way, t, CACHE)) for way, t in began.items()}
    if drawn := draw.load(load):
        blocks.append(Plot("load", drawn, "Requests running and waiting, and KV cache in use, over time", LOAD))
    shown.figure("series_rate")
    blocks += _failed(shown, rows)
    return Section("batching", "Batching", tuple(blocks))


def in_words(shown: Shown) -> list[str]:
    """The ratios as sentences, from the figures of the record; why there is none, where there is none."""
    found = []
    for name, sentence in RATIOS.items():
        if value := number(shown.figure(name).get("value")):
            found.append(sentence.format(value))
        elif said := _note(shown, name):
            found.append(f"Not compared: {said}")
    return found


def caveats(shown: Shown) -> list[str]:
    """What must be known of the ratios: measured once, a kernel compiled meanwhile. It stands behind their meaning."""
    parts = (part for name in RATIOS if shown.figure(name).get("value") for part in _note(shown, name).split("; ")[1:])
    return list(dict.fromkeys(filter(None, parts)))


def _note(shown: Shown, name: str) -> str:
    return line(shown.figure(name).get("note"), 600)


def _ways(shown: Shown) -> list[Block]:
    """A row a figure, a column a way."""
    names = list(dict.fromkeys(found[1] for found in shown.named(OF_WAY)))[:FIGURES]
    ways = [way for way in WAYS if any(f"{name}_{way}" in shown.run.record.metrics for name in names)]
    named = [(name, NAMES.get(name, line(name.replace("_", " "), 60))) for name in names if "ratio" not in name]
    rows = [[cell(label), *(shown.cell(f"{name}_{way}") for way in ways)] for name, label in named]
    return [table(("", *ways), rows, numeric=range(1, len(ways) + 1))] if rows else []


def _failed(shown: Shown, rows: list[Row]) -> list[Block]:
    wrong = [row for row in rows if row.get("error") is not None]
    if not wrong:
        return []
    head = ("failed request", "way", "status", "error")
    cells = [
        [
            cell(number(row.get("request")), source=shown.source(f"{ARRIVALS}:{row['line']}")),
            cell(line(row.get("way"), 20)),
            cell(number(row.get("status"))),
            cell(clean(row.get("error"), 300)),
        ]
        for row in wrong[:FAILURES]
    ]
    return [table(head, cells, numeric=(0, 2), caption=f"{len(wrong):,} requests failed")]
