from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labctl.runner import figures, rundir

PASSES: list[dict[str, Any]] = [
    {"t": 1.0, "event": "start"},
    {"t": 2.0, "event": "begin", "phase": "engine"},
    {"t": 32.0, "event": "end", "phase": "engine"},
]


def passes(*seconds: float, tokens: int = 100, cached: int = 0) -> list[dict[str, Any]]:
    rows, t = list(PASSES), 40.0
    for number, one in enumerate(seconds):
        phase = "generate" if number else "warmup"
        rows.append({"t": t, "event": "begin", "phase": phase, "number": number})
        rows.append(
            {"t": t + one, "event": "end", "phase": phase, "number": number, "seconds": one,
             "output_tokens": tokens, "cached_tokens": cached if number == len(seconds) - 1 else 0}
        )  # fmt: skip
        t += one + 1
    return rows


def write(run_dir: Path, events: list[dict[str, Any]], log: str = "") -> Path:
    (run_dir / "logs").mkdir(exist_ok=True)
    (run_dir / rundir.EVENTS).write_text("".join(json.dumps(event) + "\n" for event in events))
    (run_dir / rundir.ENGINE_LOG).write_text(log)
    return run_dir


def test_the_warm_up_is_not_averaged_in(tmp_path: Path) -> None:
    found = figures.compute(write(tmp_path, passes(10.0, 1.0, 2.0, 4.0)))
    assert found["throughput"]["value"] == 50.0
    assert (found["throughput"]["low"], found["throughput"]["high"], found["throughput"]["n"]) == (25.0, 100.0, 3)
    assert found["throughput"]["sources"] == ["events.jsonl:7", "events.jsonl:9", "events.jsonl:11"]
    assert found["first_pass_throughput"]["value"] == 10.0


def test_a_repeat_with_a_kernel_compiled_is_left_out(tmp_path: Path) -> None:
    # The line of the H100 capture, at a moment inside the first measured pass (51 to 52 s).
    line = (
        "    51.500 (EngineCore pid=907) WARNING 11-22 14:45:27 [jit_monitor.py:129] Triton kernel JIT compilation "
        "during inference: _topk_topp_kernel. This causes a latency spike; consider extending warmup\n"
    )
    found = figures.compute(write(tmp_path, passes(10.0, 1.0, 2.0, 4.0), line))
    assert found["throughput"]["value"] == pytest.approx(37.5)
    assert found["throughput"]["n"] == 2
    assert found["tainted_passes"]["value"] == 1
    assert "pass 1: vLLM compiled _topk_topp_kernel" in found["throughput"]["note"]


def test_a_repeat_on_a_warm_prefix_cache_is_left_out(tmp_path: Path) -> None:
    found = figures.compute(write(tmp_path, passes(10.0, 1.0, 2.0, 4.0, cached=64)))
    assert found["throughput"]["n"] == 2
    assert "64 prompt tokens came from a warm prefix cache" in found["throughput"]["note"]


def test_nothing_measured_is_unknown_not_zero(tmp_path: Path) -> None:
    found = figures.compute(tmp_path)
    for name in ("throughput", "startup", "kv_tokens", "ttft", "peak_rss", "compile_cache", "model_load_seconds"):
        assert found[name]["value"] is None, name
        assert found[name]["note"], name


def test_start_up_leaves_the_making_of_a_model_out(tmp_path: Path) -> None:
    events = [
        {"t": 1.0, "event": "start"},
        {"t": 6.0, "event": "begin", "phase": "model"},
        {"t": 16.0, "event": "end", "phase": "model"},
        {"t": 16.0, "event": "begin", "phase": "engine"},
        {"t": 46.0, "event": "end", "phase": "engine"},
    ]
    assert figures.compute(write(tmp_path, events))["startup"]["value"] == 35.0


def test_start_up_leaves_the_help_of_the_benchmarks_client_out(tmp_path: Path) -> None:
    events = [
        {"t": 1.0, "event": "start"},
        {"t": 1.0, "event": "begin", "phase": "client"},
        {"t": 10.0, "event": "end", "phase": "client", "flags": 70},
        {"t": 10.0, "event": "begin", "phase": "engine"},
        {"t": 40.0, "event": "end", "phase": "engine"},
    ]
    assert figures.compute(write(tmp_path, events))["startup"]["value"] == 30.0


def test_kv_cache_from_the_metrics_of_a_real_h100(tmp_path: Path) -> None:
    capture = Path(__file__).parents[1] / "data" / "h100-vllm-0.25.1" / "metrics-qwen2.5-7b.prom"
    (tmp_path / "metrics").mkdir()
    (tmp_path / rundir.METRICS).write_text(capture.read_text())
    found = figures.compute(tmp_path)
    assert found["kv_tokens"]["value"] == 1_071_136
    assert (found["kv_blocks"]["value"], found["kv_block_size"]["value"]) == (66_946, 16)


def test_kv_cache_from_the_log_alone(tmp_path: Path) -> None:
    line = (
        "    39.631 (EngineCore pid=1) INFO 11-22 16:55:54 [kv_cache_utils.py:2327] CPU KV cache size: 29,056 tokens, "
        "Maximum concurrency for 2,048 tokens per request: 14.19x\n"
    )
    found = figures.compute(write(tmp_path, [], line))
    assert found["kv_tokens"]["value"] == 29_056
    assert found["kv_max_concurrency"]["value"] == 14.19


WARM_UP = "    20.000 (Worker pid=1) INFO 11-22 17:05:49 [cpu_model_runner.py:91] Warming up done.\n"


@pytest.mark.parametrize(
    ("said", "log", "value"),
    [
        ({"before": 0, "after": 45, "eager": False}, WARM_UP, "cold"),
        ({"before": 45, "after": 45, "eager": False}, WARM_UP, "warm"),
        ({"before": 45, "after": 90, "eager": False}, WARM_UP, "cold"),
        ({"before": 0, "after": 0, "eager": False}, WARM_UP, None),
        ({"before": 45, "after": 45, "eager": True}, WARM_UP, "off"),
        ({"before": 45, "after": 45, "eager": False}, "", "off"),
    ],
)
def test_the_compile_cache(tmp_path: Path, said: dict[str, Any], log: str, value: str | None) -> None:
    events = [{"t": 1.0, "event": "compile_cache", **said}]
    assert figures.compute(write(tmp_path, events, log))["compile_cache"]["value"] == value


def test_a_prefix_shared_within_one_batch_is_the_workloads_own(tmp_path: Path) -> None:
    rows = passes(10.0, 1.0, 2.0, 4.0, cached=64)
    rows = [{**row, "prefix_cache_reset": True} if row["event"] == "end" else row for row in rows]
    assert figures.compute(write(tmp_path, rows))["throughput"]["n"] == 3


def test_infinite_samples_are_no_peak(tmp_path: Path) -> None:
    (tmp_path / rundir.SAMPLES).write_text("t,rss\n0.0,inf\nnan,20\n0.4,30\n" + "9" * 200_000 + ",1\n")
    assert figures.compute(tmp_path)["peak_rss"]["value"] == 30


def test_peaks_point_to_their_row(tmp_path: Path) -> None:
    (tmp_path / rundir.SAMPLES).write_text("t,rss,gpu_mem_used\n0.0,10,\n0.2,30,7\n0.4,20,oops\n")
    found = figures.compute(tmp_path)
    assert (found["peak_rss"]["value"], found["peak_rss"]["sources"]) == (30, ["samples.csv:3"])
    assert found["peak_gpu_memory"]["value"] == 7
    assert found["sampler_rate"]["value"] == 5.0


def test_hostile_raw_files_give_unknowns(tmp_path: Path) -> None:
    for name in (rundir.EVENTS, rundir.REQUESTS, rundir.SAMPLES):
        (tmp_path / name).write_bytes(b'\xff\xfe{"t": "x"}\n[]\n{"t": 1}\nnull\n' * 3)
    found = figures.compute(tmp_path)
    assert found["throughput"]["value"] is None
    assert found["peak_rss"]["value"] is None
