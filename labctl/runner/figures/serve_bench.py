"""What ``vllm bench serve`` measured at each concurrency or request rate, from its own JSON, and what taints it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.runner.figures import counters, taints
from labctl.runner.figures.figure import Figure, number, source, spread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labctl.runner import enginelog

# Name of the figure -> key of the JSON and unit (calculate_metrics in vllm/benchmarks/serve.py, 0.25.1 and 0.32.0):
# output_throughput = generated tokens / duration; request_throughput = answered requests / duration; tpot = (latency
# - ttft) / (output tokens - 1) of a request, itl = every gap between two tokens, e2el = sent to last token.
_KEYS = {
    "throughput": ("output_throughput", "tok/s"),
    "total_throughput": ("total_token_throughput", "tok/s"),
    "request_rate": ("request_throughput", "req/s"),
    **{name: (f"median_{name}_ms", "ms") for name in ("ttft", "tpot", "itl", "e2el")},
    **{f"{name}_p99": (f"p99_{name}_ms", "ms") for name in ("ttft", "tpot", "itl", "e2el")},
    "completed": ("completed", "requests"),
    "failed": ("failed", "requests"),
}

# Figures of the load with the best throughput by their own name, in seconds as those of other kinds of runs.
_OF_BEST = {"latency": "e2el", "ttft": "ttft"}

_MOST = 10_000  # points of a run; a greater number is no point's


class _Point(NamedTuple):
    """One run of the client: its events, its JSON, what its counters said, and why it is flagged ("": it is not)."""

    begun: dict[str, Any]
    file: str
    result: dict[str, Any]
    hits: Figure
    flag: str

    @property
    def shape(self) -> str:
        return shape(self.begun)


def serve_bench(run_dir: Path, rows: list[dict[str, Any]], told: list[enginelog.Told]) -> dict[str, Figure]:
    """Figures of every shape that was measured, each name with the shape behind it (``throughput_c8``, ``ttft_r2``).

    Of a shape measured several times the median over its unflagged points, with least and greatest; where every
    point is flagged, over all, with the flags in the note. Nothing for a run that is no serving benchmark.
    """
    points = [_point(run_dir, begun, rows, told) for begun in rows if _is_begin(begun)]
    found: dict[str, Figure] = {}
    for name in dict.fromkeys(one.shape for one in points):
        found |= _shape(name, [one for one in points if one.shape == name])
    if points:
        found |= {"flagged_points": _flagged(points), **_of_best(found, points)}
    return found


def shape(begun: dict[str, Any]) -> str:
    """``c8`` for a concurrency, ``r2`` or ``r0_5`` for a request rate: what stands behind a figure's name."""
    rate = number(begun.get("rate"))
    if rate is not None:
        return f"r{rate:g}".replace(".", "_").replace("-", "_").replace("+", "")
    return f"c{number(begun.get('concurrency')) or 0:.0f}"


def _is_begin(one: dict[str, Any]) -> bool:
    count = number(one.get("number"))
    return one["event"] == "begin" and one.get("phase") == "point" and count in range(1, _MOST)


def _point(run_dir: Path, begun: dict[str, Any], rows: list[dict[str, Any]], told: list[enginelog.Told]) -> _Point:
    count = int(begun["number"])
    file = f"bench/serve-{count:02d}.json"
    name = f"point-{count:02d}"
    ends = (r["t"] for r in rows if r["event"] == "end" and r.get("phase") == "point" and r.get("number") == count)
    until = next(ends, math.inf)
    result, hits = _result(run_dir / file), counters.hits(run_dir, name)
    compiled = taints.compiled(told, begun["t"], until)
    flags = [_failures(result), taints.warm(hits), compiled, _others(run_dir, name, result)]
    return _Point(begun, file, result, hits, "; ".join(filter(None, flags)))


def _failures(result: dict[str, Any]) -> str:
    """Whether requests failed: those that were left are no load of that size."""
    failed, completed = number(result.get("failed")) or 0.0, number(result.get("completed")) or 0.0
    return f"{failed:.0f} of {failed + completed:.0f} requests failed" if failed else ""


def _others(run_dir: Path, name: str, result: dict[str, Any]) -> str:
    """Whether the server answered more requests than the client sent: somebody else used it meanwhile."""
    answered, own = counters.grown(run_dir, name, counters.FINISHED), number(result.get("completed"))
    if answered is None or own is None or answered.value <= own + (number(result.get("failed")) or 0):
        return ""
    return f"the server answered {answered.value - own:.0f} requests of others meanwhile"


def _result(path: Path) -> dict[str, Any]:
    """The client's JSON; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _shape(name: str, points: list[_Point]) -> dict[str, Figure]:
    clean = [one for one in points if not one.flag] or points
    notes = [f"point {one.begun['number']}: {one.flag}" for one in points if one.flag]
    note = ("flagged: " if clean == points else "left out: ") + "; ".join(notes) if notes else ""
    found = {f"{key}_{name}": _over(clean, unit, _of(field), note) for key, (field, unit) in _KEYS.items()}
    if any(one.begun.get("goodput") for one in points):
        slo = points[0].begun["goodput"]
        limits = ", ".join(f"{key} at most {limit} ms" for key, limit in slo.items()) if isinstance(slo, dict) else ""
        found[f"goodput_{name}"] = _over(
            clean, "req/s", _of("request_goodput"), "; ".join(filter(None, (limits, note)))
        )
    found[f"prefix_hits_{name}"] = _hits(points)
    return found


def _of(field: str) -> Callable[[_Point], float | None]:
    def value(one: _Point) -> float | None:
        # A point without an answer has no times: the client writes 0.
        if not number(one.result.get("completed")) and field not in {"completed", "failed"}:
            return None
        told = number(one.result.get(field))
        # A request of a single token has no gap between two: the client writes 0 (calculate_metrics).
        return None if field.endswith("_ms") and not told else told

    return value


def _over(points: list[_Point], unit: str, value: Callable[[_Point], float | None], note: str) -> Figure:
    known = [(found, one.file) for one in points if (found := value(one)) is not None]
    why = note or ("" if known else "the client measured none")
    return spread([found for found, _ in known], unit, [file for _, file in known], why)


def _hits(points: list[_Point]) -> Figure:
    """The greatest over the points of a shape: any hit is one too many."""
    known = [one.hits for one in points if isinstance(one.hits.value, float)]
    return max(known, key=lambda one: float(one.value or 0.0), default=points[0].hits)


def _flagged(points: list[_Point]) -> Figure:
    found = [one for one in points if one.flag]
    note = "; ".join(f"point {one.begun['number']} ({one.shape}): {one.flag}" for one in found)
    return Figure(value=len(found), n=len(points), sources=[source(one.begun) for one in found], note=note)


def _words(shape: str) -> str:
    """``c8`` and ``r0_5`` for people."""
    value = shape[1:].replace("_", ".")
    return f"concurrency {value}" if shape.startswith("c") else f"{value} requests a second"


def _of_best(found: dict[str, Figure], points: list[_Point]) -> dict[str, Figure]:
    """``best_throughput``: the greatest of any shape, unflagged ones first; ``latency`` and ``ttft`` (s) there."""
    flagged = {one.shape: all(other.flag for other in points if other.shape == one.shape) for one in points}
    known = [(not flag, float(value), name) for name, flag in flagged.items()
             if isinstance(value := found[f"throughput_{name}"].value, float)]  # fmt: skip
    if not known:
        units = {"best_throughput": "tok/s", **dict.fromkeys(_OF_BEST, "s")}
        return {key: Figure(value=None, unit=unit, n=0, note="no point was answered") for key, unit in units.items()}
    name = max(known)[2]
    where = f"at {_words(name)}"
    best = replace(found[f"throughput_{name}"], note=where)
    waits = {key: _seconds(found[f"{field}_{name}"], where) for key, field in _OF_BEST.items()}
    return {"best_throughput": best, **waits}


def _seconds(figure: Figure, where: str) -> Figure:
    """A figure in milliseconds as one in seconds."""
    value, low, high = (
        one / 1000 if isinstance(one, float) else None for one in (figure.value, figure.low, figure.high)
    )
    note = f"{where}, which had the best throughput" if value is not None else f"{where}: {figure.note}"
    return replace(figure, value=value, low=low, high=high, unit="s", note=note)
