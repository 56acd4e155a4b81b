"""One load served in three ways by one server: how long it took, what each request waited, and the ratios."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import TYPE_CHECKING, Any

from labctl.runner import rundir
from labctl.runner.figures import counters, taints
from labctl.runner.figures.arrival_ratios import ratios
from labctl.runner.figures.figure import Figure, json_lines, number

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labctl.runner import enginelog

_INSTANT = 1e-6  # s; what is shorter was not measured
_BOUND = 0.2  # a way that was done so soon after the last arrival (share of its makespan) shows the arrivals
_ONCE = "measured once"
_NONE = "no request was answered"
_PACE = "bound by the arrivals: fewer seconds or more requests show the server"
WAYS = ("continuous", "static", "alone")
_Rows = list[tuple[int, dict[str, Any]]]


def arrivals(run_dir: Path, rows: list[dict[str, Any]], told: list[enginelog.Told]) -> dict[str, Figure]:
    """Figures of each way that was begun, and how they compare. Nothing for a run that is no batching lab.

    Each way is measured once, and nothing is left out for a taint: notes say so.
    """
    begun = [way for way in WAYS if any(r["event"] == "begin" and r.get("phase") == way for r in rows)]
    ended = {way for way in begun if any(r["event"] == "end" and r.get("phase") == way for r in rows)}
    lives = list(json_lines(run_dir / rundir.ARRIVALS))
    scraped = list(json_lines(run_dir / rundir.SERIES))
    found: dict[str, Figure] = {}
    bound = set()
    for way in begun:
        own = [(line, row) for line, row in lives if row.get("way") == way]
        hits = counters.hits(run_dir, way)
        taint = "; ".join(f"{way}: {said}" for said in (_compiled(way, rows, told), taints.warm(hits)) if said)
        found |= {f"{name}_{way}": one for name, one in _way(own, taint, whole=way in ended).items()}
        if _paced(own, found[f"makespan_{way}"]):
            bound.add(way)
            _remark(found[f"throughput_{way}"], f"{way}: {_PACE}")
        seen = [(line, row) for line, row in scraped if row.get("way") == way]
        found |= {f"{name}_{way}": one for name, one in _seen(seen).items()} | {f"prefix_hits_{way}": hits}
    return {**found, **ratios(found, begun, bound), **({"series_rate": _rate(scraped)} if begun else {})}


def _compiled(way: str, rows: list[dict[str, Any]], told: list[enginelog.Told]) -> str:
    """Which kernels were compiled during a way; one that never ended lasts until the end."""
    times = {r["event"]: float(r["t"]) for r in rows if r.get("phase") == way}
    return taints.compiled(told, times["begin"], times.get("end", math.inf))


def _paced(rows: _Rows, makespan: Figure) -> bool:
    """Whether a way was done so soon after its last request arrived that its throughput is the arrivals'."""
    planned = max((found for found, _ in _of(rows, lambda row: number(row.get("planned_s")))), default=0.0)
    return isinstance(makespan.value, float) and makespan.value - planned < _BOUND * makespan.value


def _remark(figure: Figure, said: str) -> None:
    figure.note = "; ".join(filter(None, (figure.note, said)))


def _way(rows: _Rows, taint: str, *, whole: bool) -> dict[str, Figure]:
    """Of one way's requests.

    makespan = the last ``done_s`` (s since the way's start, its waiting for arrivals included); throughput = output
    tokens of all answered requests / makespan; latency = ``done_s`` - ``planned_s`` and ttft = ``first_s`` -
    ``planned_s``, both from the arrival, so that waiting for a batch to fill or for one's turn is in them. Mean, with
    least and greatest; p99 as numpy's (linear between the two nearest).
    """
    good = [(line, row) for line, row in rows if row.get("error") is None and number(row.get("done_s")) is not None]
    bad = [line for line, row in rows if row.get("error") is not None]
    failed = f"{len(bad)} of {len(rows)} requests failed" if bad else ""
    note = "; ".join(filter(None, (_ONCE, failed, taint)))
    latencies = _of(good, lambda row: _between(row, "planned_s", "done_s"))
    return {
        **_total(good, note if whole else "this way never came to its end", failed, whole=whole),
        "latency": _mean(latencies, note, failed),
        "latency_p99": _p99(latencies, note, failed),
        "ttft": _mean(_of(good, lambda row: _between(row, "planned_s", "first_s")), note, failed),
        "failed": Figure(value=len(bad), unit="requests", n=len(rows), sources=[_at(line) for line in bad]),
    }


def _total(good: _Rows, note: str, failed: str, *, whole: bool) -> dict[str, Figure]:
    tokens = sum(number(row.get("output_tokens")) or 0.0 for _, row in good)
    makespan = max(_of(good, lambda row: number(row.get("done_s"))), default=None)
    if makespan is None or makespan[0] < _INSTANT or not whole:
        lost = (failed if whole else note) or _NONE
        return {name: Figure(value=None, unit=unit, n=0, note=lost)
                for name, unit in (("makespan", "s"), ("throughput", "tok/s"))}  # fmt: skip
    seconds, line = makespan
    lines = [one for one, _ in good]
    span = f"{rundir.ARRIVALS}:{min(lines)}-{max(lines)}"
    return {
        "makespan": Figure(value=round(seconds, 6), unit="s", n=len(good), sources=[_at(line)], note=note),
        "throughput": Figure(value=round(tokens / seconds, 3), unit="tok/s", n=len(good), sources=[span], note=note),
    }


def _seen(rows: _Rows) -> dict[str, Figure]:
    """Greatest number of requests running and waiting, and the fullest KV cache (%), as the server's metrics said."""
    wanted = {"running": ("requests", 1.0), "waiting": ("requests", 1.0), "kv_usage": ("%", 100.0)}
    found = {}
    for name, (unit, factor) in wanted.items():
        values = _of(rows, lambda row, name=name: number(row.get(name)))  # type: ignore[misc]
        if not values:
            found[name] = Figure(value=None, unit=unit, n=0, note="the server's metrics do not say")
            continue
        value, line = max(values)
        at = [f"{rundir.SERIES}:{line}"]
        found[name] = Figure(value=round(value * factor, 3), unit=unit, n=len(values), sources=at, note="greatest seen")
    return found


def _rate(rows: _Rows) -> Figure:
    """Scrapes per second while requests ran, over the median gap within a way."""
    times = [(row.get("way"), at) for _, row in rows if (at := number(row.get("t"))) is not None]
    gaps = [after - before for (one, before), (other, after) in itertools.pairwise(times)
            if one == other and after - before > _INSTANT]  # fmt: skip
    rate = round(1 / statistics.median(gaps), 2) if gaps else None
    return Figure(value=rate, unit="Hz", n=len(times), sources=[rundir.SERIES] if gaps else [])


def _of(rows: _Rows, value: Callable[[dict[str, Any]], float | None]) -> list[tuple[float, int]]:
    return [(found, line) for line, row in rows if (found := value(row)) is not None]


def _between(row: dict[str, Any], start: str, end: str) -> float | None:
    first, last = number(row.get(start)), number(row.get(end))
    return None if first is None or last is None else last - first


def _mean(values: list[tuple[float, int]], note: str, failed: str) -> Figure:
    if not values:
        return Figure(value=None, unit="s", n=0, note=failed or _NONE)
    plain = [value for value, _ in values]
    return Figure(
        value=round(statistics.fmean(plain), 6), unit="s", low=round(min(plain), 6), high=round(max(plain), 6),
        n=len(plain), sources=_lines(values), note=note,
    )  # fmt: skip


def _p99(values: list[tuple[float, int]], note: str, failed: str) -> Figure:
    if not values:
        return Figure(value=None, unit="s", n=0, note=failed or _NONE)
    return Figure(
        value=round(percentile([value for value, _ in values], 99.0), 6), unit="s", n=len(values),
        sources=_lines(values), note=note,
    )  # fmt: skip


def percentile(values: list[float], percent: float) -> float:
    """The value below which ``percent`` % of ``values`` lie, linear between the two nearest, as numpy's default."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100.0
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _lines(values: list[tuple[float, int]]) -> list[str]:
    lines = [line for _, line in values]
    return [f"{rundir.ARRIVALS}:{min(lines)}-{max(lines)}"]


def _at(line: int) -> str:
    return f"{rundir.ARRIVALS}:{line}"
