from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labctl.runner import figures, rundir

CAPTURES = Path(__file__).parents[1] / "data" / "h100-vllm-0.25.1"


def capture(concurrency: int) -> str:
    return (CAPTURES / f"bench-serve-qwen2.5-7b-concurrency-{concurrency}.json").read_text()


def point(number: int, shape: dict[str, Any], *, t: float = 0.0, **more: Any) -> list[dict[str, Any]]:
    told = {"phase": "point", "number": number, **shape, **more}
    return [{"t": 100.0 * number + t, "event": "begin", **told}, {"t": 100.0 * number + 50, "event": "end", **told}]


def write(run_dir: Path, points: list[list[dict[str, Any]]], results: list[str], log: str = "") -> Path:
    (run_dir / "bench").mkdir()
    (run_dir / "logs").mkdir()
    (run_dir / rundir.EVENTS).write_text("".join(json.dumps(row) + "\n" for one in points for row in one))
    (run_dir / rundir.ENGINE_LOG).write_text(log)
    for number, text in enumerate(results, 1):
        (run_dir / f"bench/serve-{number:02d}.json").write_text(text)
    return run_dir


def counters(run_dir: Path, number: int, *, hits: tuple[int, int], finished: tuple[int, int] = (0, 0)) -> None:
    (run_dir / "metrics").mkdir(exist_ok=True)
    for name, place in ((rundir.before, 0), (rundir.after, 1)):
        (run_dir / name(f"point-{number:02d}")).write_text(
            f'# HELP\nvllm:prefix_cache_queries_total{{engine="0"}} {1000 * (place + 1)}\n'
            f'vllm:prefix_cache_hits_total{{engine="0"}} {hits[place]}\n'
            f'vllm:request_success_total{{engine="0",finished_reason="length"}} {finished[place]}\n'
            'vllm:request_success_total{engine="0",finished_reason="stop"} 1\n'
        )


def test_the_captures_of_a_real_h100(tmp_path: Path) -> None:
    loads = (1, 8, 32, 128)
    run_dir = write(
        tmp_path, [point(n, {"concurrency": c}) for n, c in enumerate(loads, 1)], [capture(c) for c in loads]
    )
    found = figures.compute(run_dir)
    assert [round(found[f"throughput_c{c}"]["value"], 1) for c in loads] == [159.3, 1222.9, 3540.4, 7273.8]
    assert [round(found[f"ttft_c{c}"]["value"], 1) for c in loads] == [22.4, 32.3, 271.9, 504.3]
    assert found["tpot_p99_c128"] | {"note": ""} == {
        "value": 18.105165, "unit": "ms", "low": 18.105165304172665, "high": 18.105165304172665, "n": 1,
        "sources": ["bench/serve-04.json"], "note": "",
    }  # fmt: skip
    assert (found["completed_c128"]["value"], found["failed_c128"]["value"]) == (1024.0, 0.0)
    assert (found["best_throughput"]["value"], found["best_throughput"]["note"]) == (
        7273.771707,
        "at concurrency 128",
    )
    assert found["request_rate_c8"]["unit"] == "req/s"


def test_what_the_client_did_not_write_is_unknown(tmp_path: Path) -> None:
    # Its percentiles of e2el were not asked for when these were captured.
    found = figures.compute(write(tmp_path, [point(1, {"concurrency": 8})], [capture(8)]))
    assert found["e2el_c8"]["value"] is None
    assert found["e2el_c8"]["note"]
    assert found["prefix_hits_c8"]["value"] is None
    assert "goodput_c8" not in found


def test_hits_flag_a_point_and_say_where_it_stands(tmp_path: Path) -> None:
    run_dir = write(tmp_path, [point(1, {"concurrency": 8})], [capture(8)])
    counters(run_dir, 1, hits=(16, 256))
    found = figures.compute(run_dir)
    assert found["prefix_hits_c8"]["value"] == 240.0
    assert found["prefix_hits_c8"]["sources"] == ["metrics/point-01-before.prom:3", "metrics/point-01-after.prom:3"]
    assert found["prefix_hits_c8"]["note"] == "of 1000 looked up"
    assert found["flagged_points"]["value"] == 1
    assert found["throughput_c8"]["note"] == "flagged: point 1: 240 prompt tokens came from a warm prefix cache"


def test_of_a_shape_measured_more_than_once_a_flagged_point_is_left_out(tmp_path: Path) -> None:
    results = [json.dumps({**json.loads(capture(8)), "output_throughput": rate}) for rate in (100.0, 900.0, 110.0)]
    run_dir = write(tmp_path, [point(n, {"concurrency": 8}) for n in (1, 2, 3)], results)
    for number, hits in enumerate(((0, 0), (0, 512), (512, 512)), 1):
        counters(run_dir, number, hits=hits)
    found = figures.compute(run_dir)
    kept = found["throughput_c8"]
    assert (kept["value"], kept["low"], kept["high"], kept["n"]) == (105.0, 100.0, 110.0, 2)
    assert kept["sources"] == ["bench/serve-01.json", "bench/serve-03.json"]
    assert kept["note"].startswith("left out: point 2")
    assert found["prefix_hits_c8"]["value"] == 512.0


def test_somebody_else_at_the_server_flags_a_point(tmp_path: Path) -> None:
    run_dir = write(tmp_path, [point(1, {"concurrency": 8})], [capture(8)])
    counters(run_dir, 1, hits=(0, 0), finished=(10, 10 + 64 + 3))
    assert "answered 3 requests of others" in figures.compute(run_dir)["flagged_points"]["note"]


def test_a_server_that_was_started_anew_in_between_gives_no_hits(tmp_path: Path) -> None:
    run_dir = write(tmp_path, [point(1, {"concurrency": 8})], [capture(8)])
    counters(run_dir, 1, hits=(500, 20))
    assert figures.compute(run_dir)["prefix_hits_c8"]["value"] is None


def test_a_kernel_compiled_meanwhile_flags_a_point(tmp_path: Path) -> None:
    # The line of the H100 capture, at a moment inside the first of two points.
    line = (
        "   120.500 (EngineCore pid=907) WARNING 11-22 14:45:27 [jit_monitor.py:129] Triton kernel JIT compilation "
        "during inference: _topk_topp_kernel. This causes a latency spike; consider extending warmup\n"
    )
    points = [point(1, {"concurrency": 1}), point(2, {"concurrency": 8})]
    found = figures.compute(write(tmp_path, points, [capture(1), capture(8)], line))
    assert found["flagged_points"]["note"] == "point 1 (c1): vLLM compiled _topk_topp_kernel meanwhile"
    assert found["throughput_c8"]["note"] == ""


@pytest.mark.parametrize(
    ("shape", "name"),
    [({"rate": 2.0}, "r2"), ({"rate": 0.5}, "r0_5"), ({"rate": 12.25}, "r12_25"), ({"concurrency": 8}, "c8")],
)
def test_a_figure_is_named_after_its_shape(tmp_path: Path, shape: dict[str, Any], name: str) -> None:
    found = figures.compute(write(tmp_path, [point(1, shape, goodput={"ttft": 500.0})], [capture(8)]))
    assert found[f"throughput_{name}"]["value"] == 1222.86107
    assert found[f"goodput_{name}"]["note"] == "ttft at most 500.0 ms", "asked for, and not in the client's JSON"
    assert found[f"goodput_{name}"]["value"] is None


def test_a_point_of_which_nothing_was_answered_has_no_times(tmp_path: Path) -> None:
    # What the client writes then: zeros (seen with a server that was killed).
    result = json.dumps({"completed": 0, "failed": 4, "output_throughput": 0.0, "median_ttft_ms": 0.0})
    found = figures.compute(write(tmp_path, [point(1, {"concurrency": 8})], [result]))
    assert (found["completed_c8"]["value"], found["failed_c8"]["value"]) == (0.0, 4.0)
    assert found["ttft_c8"]["value"] is None
    assert found["best_throughput"]["value"] is None
    assert (found["latency"]["value"], found["ttft"]["value"]) == (None, None)


def told(concurrency: int, **more: float) -> str:
    return json.dumps({**json.loads(capture(concurrency)), **more})


def test_one_flagged_repeat_does_not_cost_a_load_its_place(tmp_path: Path) -> None:
    points = [point(1, {"concurrency": 1}), point(2, {"concurrency": 8}), point(3, {"concurrency": 8})]
    run_dir = write(tmp_path, points, [capture(1), capture(8), capture(8)])
    counters(run_dir, 3, hits=(0, 512))
    found = figures.compute(run_dir)
    assert found["flagged_points"]["value"] == 1
    assert (found["best_throughput"]["value"], found["best_throughput"]["note"]) == (1222.86107, "at concurrency 8")


def test_failed_requests_flag_a_point(tmp_path: Path) -> None:
    results = [capture(1), told(8, completed=2, failed=62)]
    found = figures.compute(write(tmp_path, [point(1, {"concurrency": 1}), point(2, {"concurrency": 8})], results))
    assert found["flagged_points"]["note"] == "point 2 (c8): 62 of 64 requests failed"
    assert found["throughput_c8"]["note"] == "flagged: point 2: 62 of 64 requests failed"
    assert found["best_throughput"]["note"] == "at concurrency 1"


def test_a_single_token_has_no_time_between_two(tmp_path: Path) -> None:
    # What calculate_metrics of vllm/benchmarks/serve.py gives then: numpy.median([]  or 0).
    zeros = {f"{name}_{kind}_ms": 0.0 for name in ("median", "p99") for kind in ("tpot", "itl")}
    found = figures.compute(write(tmp_path, [point(1, {"concurrency": 8})], [told(8, **zeros)]))
    for name in ("itl_c8", "itl_p99_c8", "tpot_c8", "tpot_p99_c8"):
        assert found[name]["value"] is None, name
        assert found[name]["note"], name
    assert found["ttft_c8"]["value"] is not None


def test_the_load_with_the_best_throughput_gives_the_runs_latencies(tmp_path: Path) -> None:
    results = [told(1, median_e2el_ms=800.0), told(8, median_e2el_ms=850.0)]
    found = figures.compute(write(tmp_path, [point(1, {"concurrency": 1}), point(2, {"concurrency": 8})], results))
    assert (found["latency"]["value"], found["latency"]["unit"]) == (0.85, "s")
    assert found["latency"]["note"] == "at concurrency 8, which had the best throughput"
    assert found["ttft"]["value"] == pytest.approx(found["ttft_c8"]["value"] / 1000)
    assert found["ttft"]["sources"] == ["bench/serve-02.json"]


def test_a_run_of_another_kind_has_none_of_these(tmp_path: Path) -> None:
    assert not {name for name in figures.compute(tmp_path) if "flagged" in name or "prefix_hits" in name}
