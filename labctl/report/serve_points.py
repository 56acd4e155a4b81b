"""The points of ``vllm bench serve``: the figures of each load, and its own JSON of each run of the client."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from labctl.report.amounts import finite, number

if TYPE_CHECKING:
    from labctl.report.raw import Row
    from labctl.report.shown import Shown

MOST = 200  # loads
FILE = re.compile(r"serve-(\d{1,4})\.json")
PERCENTILE = re.compile(r"(mean|median|p\d{1,2}(?:\.\d+)?)_(ttft|tpot|itl|e2el)_ms")
SHAPE = re.compile(r"throughput_(?:c(\d{1,7})|r(\d{1,7}(?:_\d{1,6})?))")
# As vLLM names them in its own table (vllm/benchmarks/serve.py, 0.32.0).
LATENCIES = {
    "ttft": "time to first token (TTFT)",
    "tpot": "time per output token after the first (TPOT)",
    "itl": "time between two tokens (ITL)",
    "e2el": "whole request (E2E)",
}


class Load(NamedTuple):
    """One load that was measured: ``x`` (requests at once, or a second), in words, and the suffix of its figures."""

    x: float
    words: str
    suffix: str


class Point(NamedTuple):
    """One run of the client: the load in words, its file and what stands there."""

    words: str
    file: str
    told: Row


def loads(shown: Shown) -> list[Load]:
    """Every load that the record has figures of, the least first; concurrencies before rates."""
    found = []
    for match in shown.named(SHAPE):
        rate = match[2]
        x = float(rate.replace("_", ".")) if rate else float(match[1])
        found.append(Load(x, f"{number(x)} requests/s" if rate else f"{number(x)} at once", f"{match[0][11:]}"))
    return sorted(found, key=lambda one: (one.suffix[0], one.x))[:MOST]


def points(shown: Shown) -> list[Point]:
    """Every run of the client that left a file, in order."""
    found = []
    for file in shown.run.raw.names("bench", FILE):
        match = FILE.fullmatch(file.rpartition("/")[2])
        place = int(match[1]) if match else 0
        begun = (row for row in shown.run.events if row.get("phase") == "point" and row.get("number") == place)
        if told := shown.run.raw.object(file):
            found.append(Point(_words(next(begun, {}), told), file, told))
    return found


def _words(asked: Row, told: Row) -> str:
    """What the runner asked for; of a file without that (a foreign one) what vLLM noted itself."""
    rate, many = finite(asked.get("rate")), finite(asked.get("concurrency"))
    if rate is None and many is None:
        rate, many = finite(told.get("request_rate")), finite(told.get("max_concurrency"))
    return f"{number(many) or '?'} at once" if rate is None else f"{number(rate)} requests/s"


def statistics(found: list[Point]) -> list[str]:
    """Names of the statistics (mean, median, p99) that any point has of any latency, in order."""
    names = {match[1] for one in found for key in one.told if (match := PERCENTILE.fullmatch(str(key)))}
    order = {"mean": -2.0, "median": -1.0}
    return sorted(names, key=lambda name: order[name] if name in order else float(name[1:]))
