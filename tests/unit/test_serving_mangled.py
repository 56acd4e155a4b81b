"""Metrics, benchmark results and request rows that nobody wrote so: a figure or an unknown, never a crash."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labctl.runner import events, prom, rundir, series
from labctl.runner.figures.arrivals import arrivals
from labctl.runner.figures.serve_bench import serve_bench
from tests.unit.test_figures_arrivals import CONTINUOUS, STATIC
from tests.unit.test_figures_serve_bench import CAPTURES, capture, point

METRICS = (CAPTURES / "metrics-qwen2.5-7b.prom").read_text()
ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400)
ODDER = ODD | st.lists(ODD, max_size=3) | st.dictionaries(st.text(max_size=4), ODD, max_size=2)


def computed(files: dict[str, str]) -> dict[str, Any]:
    """The figures of a run directory with these files, as record.json can hold them."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
        rows = events.read(Path(folder))
        figures = {**serve_bench(Path(folder), rows, []), **arrivals(Path(folder), rows, [])}
        found: dict[str, Any] = json.loads(json.dumps({k: asdict(v) for k, v in figures.items()}, allow_nan=False))
        return found


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def mangled(rows: list[dict[str, Any]], changes: list[tuple[int, str, Any]]) -> list[dict[str, Any]]:
    """The rows with some values replaced: (row, key, value), both taken round the end."""
    made = [dict(row) for row in rows]
    for number, key, value in changes:
        row = made[number % len(made)]
        row[sorted(row)[len(key) % len(row)] if key != "t" else "t"] = value
    return made


CHANGES = st.lists(st.tuples(st.integers(0, 50), st.text(alphabet="tx", max_size=12), ODDER), max_size=5)


@given(st.text(alphabet='vllm:prefix_cache_hits_total{}="engine0\\,. \n\u2028#+-eE1NaInf', max_size=300))
def test_no_text_makes_a_sum_that_is_no_number(text: str) -> None:
    said = f'{text}\nvllm:x{{e="0"}} NaN\nvllm:x{{e="1"}} 2\n'.split("\n")
    read = list(prom.samples("\n".join(said)))
    assert all(said[one.line - 1].startswith(one.name) for one in read)
    found = prom.total(read, "vllm:x")
    assert found is not None
    assert math.isfinite(found.value)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(METRICS)), st.text(max_size=12)), min_size=1, max_size=8))
def test_metrics_with_holes_give_numbers_or_unknowns(cuts: list[tuple[int, str]]) -> None:
    text = METRICS
    for at, put in cuts:
        text = text[:at] + put + text[at + 40 :]
    assert all(value is None or math.isfinite(value) for value in series.row(text).values())


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(json.loads(capture(8)))), ODDER, max_size=8))
def test_a_mangled_result_of_the_client_is_no_crash(changes: dict[str, Any]) -> None:
    result = json.dumps({**json.loads(capture(8)), **changes})
    files = {rundir.EVENTS: lines(point(1, {"concurrency": 8})), "bench/serve-01.json": result}
    found = computed(files)
    expected = 1222.86107 if "output_throughput" not in changes and "completed" not in changes else None
    assert expected is None or found["throughput_c8"]["value"] == expected


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.integers(0, 900))
def test_a_torn_result_of_the_client_is_unknown(text: str, cut: int) -> None:
    files = {rundir.EVENTS: lines(point(1, {"concurrency": 8})), "bench/serve-01.json": capture(8)[:cut] + text}
    found = computed(files)["throughput_c8"]
    assert found["value"] is None
    assert found["note"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CHANGES, CHANGES, CHANGES)
def test_mangled_points_and_counters_are_no_crash(
    told: list[tuple[int, str, Any]], before: list[tuple[int, str, Any]], after: list[tuple[int, str, Any]]
) -> None:
    points = mangled([*point(1, {"concurrency": 8}, goodput={"ttft": 5.0}), *point(2, {"rate": 2.0})], told)
    cut = {f"metrics/point-01-{name}.prom": METRICS[len(changes) * 4000 :] for name, changes in
           (("before", before), ("after", after))}  # fmt: skip
    computed({rundir.EVENTS: lines(points), "bench/serve-01.json": capture(8), **cut})


@settings(max_examples=100, deadline=None)
@given(CHANGES, CHANGES)
def test_mangled_requests_and_scrapes_are_no_crash(
    lives: list[tuple[int, str, Any]], scraped: list[tuple[int, str, Any]]
) -> None:
    ways = [{"t": 1.0, "event": event, "phase": way} for way in ("continuous", "static") for event in ("begin", "end")]
    rows = [{"t": n / 5, "way": "continuous", "running": 1.0, "waiting": 0.0, "kv_usage": 0.1} for n in range(4)]
    files = {rundir.EVENTS: lines(ways), rundir.ARRIVALS: lines(mangled(CONTINUOUS + STATIC, lives)),
             rundir.SERIES: lines(mangled(rows, scraped))}  # fmt: skip
    found = computed(files)
    for name in ("makespan_continuous", "ratio_static", "latency_static", "kv_usage_continuous", "series_rate"):
        assert found[name]["value"] is not None or found[name]["note"] or not found[name]["sources"], name
