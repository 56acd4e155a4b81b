from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import figures, rundir
from labctl.runner.figures.arrivals import percentile

if TYPE_CHECKING:
    from pathlib import Path


def row(way: str, request: int, planned: float, first: float, done: float | None, **more: Any) -> dict[str, Any]:
    told = {"way": way, "request": request, "planned_s": planned, "sent_s": planned, "first_s": first, "done_s": done}
    return {**told, "prompt_tokens": 8, "output_tokens": 40, "status": 200, "error": None, **more}


CONTINUOUS = [row("continuous", 0, 0.0, 0.5, 2.0), row("continuous", 1, 1.0, 1.2, 4.0)]
STATIC = [row("static", 0, 0.0, 1.5, 8.0), row("static", 1, 1.0, 1.5, 6.0)]


def write(run_dir: Path, lives: list[dict[str, Any]], *, open_ways: tuple[str, ...] = ()) -> Path:
    ways = dict.fromkeys(life["way"] for life in lives)
    told = [{"t": 10.0 * n, "event": event, "phase": way} for n, way in enumerate(ways, 1)
            for event in (("begin",) if way in open_ways else ("begin", "end"))]  # fmt: skip
    (run_dir / rundir.EVENTS).write_text("".join(json.dumps(one) + "\n" for one in told))
    (run_dir / rundir.ARRIVALS).write_text("".join(json.dumps(one) + "\n" for one in lives))
    return run_dir


def test_the_three_ways_side_by_side(tmp_path: Path) -> None:
    found = figures.compute(write(tmp_path, CONTINUOUS + STATIC))
    assert (found["makespan_continuous"]["value"], found["makespan_static"]["value"]) == (4.0, 8.0)
    assert found["makespan_continuous"]["sources"] == ["arrivals.jsonl:2"]
    assert (found["throughput_continuous"]["value"], found["throughput_static"]["value"]) == (20.0, 10.0)
    assert found["throughput_static"]["sources"] == ["arrivals.jsonl:3-4"]
    assert found["ratio_static"]["value"] == 2.0
    assert "ratio_alone" not in found, "the load was not sent that way"


def test_latency_counts_from_the_arrival(tmp_path: Path) -> None:
    found = figures.compute(write(tmp_path, CONTINUOUS + STATIC))
    mean = found["latency_continuous"]
    assert (mean["value"], mean["low"], mean["high"], mean["n"]) == (2.5, 2.0, 3.0, 2)
    assert found["ttft_continuous"]["value"] == 0.35
    assert found["latency_static"]["value"] == 6.5
    assert found["latency_ratio_static"]["value"] == 2.6
    assert found["latency_p99_continuous"]["value"] == 2.99


def test_a_failed_request_is_counted_and_its_row_named(tmp_path: Path) -> None:
    broken = row("continuous", 2, 2.0, 2.1, None, status=None, error="ConnectionResetError: x", output_tokens=0)
    found = figures.compute(write(tmp_path, [*CONTINUOUS, broken]))
    assert (found["failed_continuous"]["value"], found["failed_continuous"]["sources"]) == (1, ["arrivals.jsonl:3"])
    assert found["throughput_continuous"]["value"] == 20.0
    assert found["throughput_continuous"]["note"] == "measured once; 1 of 3 requests failed"


def test_requests_that_failed_leave_nothing_to_compare(tmp_path: Path) -> None:
    failed = [*STATIC[:1], {**STATIC[1], "done_s": None, "error": "ConnectionResetError: x"}]
    found = figures.compute(write(tmp_path, CONTINUOUS + failed))
    for name in ("ratio_static", "latency_ratio_static"):
        assert found[name]["value"] is None, name
        assert found[name]["note"].endswith("; requests failed"), name
    assert found["throughput_static"]["value"] is not None


JIT = (
    "{t:10.3f} (EngineCore pid=907) WARNING 11-22 14:45:27 [jit_monitor.py:129] Triton kernel JIT compilation "
    "during inference: _topk_topp_kernel. This causes a latency spike; consider extending warmup\n"
)


def test_each_way_is_measured_once_and_a_kernel_compiled_meanwhile_is_told(tmp_path: Path) -> None:
    write(tmp_path, CONTINUOUS + STATIC)
    rows = [json.loads(line) for line in (tmp_path / rundir.EVENTS).read_text().splitlines()]
    times = {(row["phase"], row["event"]): row["t"] for row in rows}
    (tmp_path / "logs").mkdir()
    (tmp_path / rundir.ENGINE_LOG).write_text(JIT.format(t=times["static", "begin"]))
    found = figures.compute(tmp_path)
    for name in ("throughput_static", "latency_static", "ratio_static", "latency_ratio_static"):
        assert "measured once; static: vLLM compiled _topk_topp_kernel meanwhile" in found[name]["note"], name
    assert found["throughput_continuous"]["note"] == "measured once"


def test_a_warm_prefix_cache_is_told_beside_what_it_made_faster(tmp_path: Path) -> None:
    write(tmp_path, CONTINUOUS + STATIC)
    (tmp_path / "metrics").mkdir()
    for path, hits in ((rundir.before("static"), 16), (rundir.after("static"), 48)):
        (tmp_path / path).write_text(f'vllm:prefix_cache_hits_total{{engine="0"}} {hits}\n')
    said = "static: 32 prompt tokens came from a warm prefix cache"
    assert figures.compute(tmp_path)["ratio_static"]["note"].endswith(said)


def paced(way: str, done: float) -> list[dict[str, Any]]:
    """Two requests, the last of which arrives after 8 s and is answered at ``done``."""
    return [row(way, 0, 0.0, 0.5, 1.0), row(way, 1, 8.0, 8.1, done)]


def test_ways_that_only_keep_up_with_the_arrivals_are_not_compared(tmp_path: Path) -> None:
    found = figures.compute(write(tmp_path, paced("continuous", 8.5) + paced("static", 9.0)))
    assert found["ratio_static"] | {"n": 0, "sources": []} == found["ratio_static"]
    assert found["ratio_static"]["value"] is None
    assert found["ratio_static"]["note"].endswith("both are bound by the arrivals")
    assert "continuous: bound by the arrivals" in found["throughput_continuous"]["note"]
    assert found["latency_ratio_static"]["value"] is not None, "it counts from the arrival"


def test_where_one_way_only_kept_up_with_the_arrivals_the_other_is_as_many_times_slower_at_least(
    tmp_path: Path,
) -> None:
    found = figures.compute(write(tmp_path, paced("continuous", 8.5) + paced("static", 17.0)))
    assert found["ratio_static"]["value"] == 2.0
    assert found["ratio_static"]["note"].startswith("throughput, continuous / static; at least; measured once")


def test_a_way_that_never_ended_has_no_makespan_but_its_requests_latency(tmp_path: Path) -> None:
    found = figures.compute(write(tmp_path, CONTINUOUS + STATIC, open_ways=("static",)))
    for name in ("makespan_static", "throughput_static", "ratio_static"):
        assert found[name]["value"] is None, name
    assert "never came to its end" in found["makespan_static"]["note"]
    assert found["latency_static"]["value"] == 6.5


def test_what_the_servers_metrics_said_meanwhile(tmp_path: Path) -> None:
    write(tmp_path, CONTINUOUS + STATIC)
    (tmp_path / "metrics").mkdir()
    scraped = [
        {"t": 1.0, "way": "continuous", "running": 1.0, "waiting": 0.0, "kv_usage": 0.125},
        {"t": 1.2, "way": "continuous", "running": 2.0, "waiting": 3.0, "kv_usage": None},
        {"t": 1.4, "way": "continuous", "running": 1.0, "waiting": 0.0, "kv_usage": 0.5},
        {"t": 9.0, "way": "static", "running": 7.0},
    ]
    (tmp_path / rundir.SERIES).write_text("".join(json.dumps(one) + "\n" for one in scraped))
    found = figures.compute(tmp_path)
    assert (found["running_continuous"]["value"], found["waiting_continuous"]["value"]) == (2.0, 3.0)
    assert found["running_continuous"]["sources"] == ["metrics/series.jsonl:2"]
    assert (found["kv_usage_continuous"]["value"], found["kv_usage_continuous"]["n"]) == (50.0, 2)
    assert found["kv_usage_static"]["value"] is None
    assert found["series_rate"]["value"] == 5.0


def test_hits_of_a_warm_prefix_cache_are_told(tmp_path: Path) -> None:
    write(tmp_path, CONTINUOUS)
    (tmp_path / "metrics").mkdir()
    for path, hits in ((rundir.before("continuous"), 16), (rundir.after("continuous"), 48)):
        (tmp_path / path).write_text(f'vllm:prefix_cache_hits_total{{engine="0"}} {hits}\n')
    assert figures.compute(tmp_path)["prefix_hits_continuous"]["value"] == 32.0


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    # As numpy.percentile gives them.
    [([1.0], 99, 1.0), ([1.0, 2.0, 3.0, 4.0], 50, 2.5), ([4.0, 1.0, 3.0, 2.0], 99, 3.97), ([1.0, 2.0], 100, 2.0)],
)
def test_percentiles(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == pytest.approx(expected)


def test_a_run_of_another_kind_has_none_of_these(tmp_path: Path) -> None:
    assert not {name for name in figures.compute(tmp_path) if "continuous" in name or name == "series_rate"}
