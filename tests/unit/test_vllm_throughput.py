"""What the benchmark `throughput` gives to vLLM's own benchmark: the run's engine, shape and environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import record, spec
from tests.benchmarks.vllm_throughput import Lab, Shape, options

if TYPE_CHECKING:
    from pathlib import Path


def ran(tmp_path: Path, **told: Any) -> Lab:
    asked = spec.from_dict({"lab": "bench", "model": "m", "workload": {"kind": "batches", "prompt": "p"}})
    run = record.RunRecord(run_id="r", status="ok", spec_sha256="", anchor={}, **told)
    return Lab(tmp_path / "runs" / "r", tmp_path, asked, run)


def test_arguments_of_the_engine_become_words() -> None:
    engine = {
        "disable_log_stats": False, "seed": 0, "enforce_eager": True, "enable_prefix_caching": False,
        "compilation_config": {"level": 3}, "cudagraph_capture_sizes": [1, 2], "quantization": None,
    }  # fmt: skip
    assert options(engine) == [
        "--seed", "0", "--enforce-eager", "--no-enable-prefix-caching",
        "--compilation-config", '{"level": 3}', "--cudagraph-capture-sizes", "1", "2",
    ]  # fmt: skip
    assert options({"disable_log_stats": True}) == ["--disable-log-stats"]


def test_the_shape_is_what_was_measured(tmp_path: Path) -> None:
    lengths = {"prompt_tokens": {"value": 240, "n": 48}, "output_tokens": {"value": 4800, "n": 48}}
    assert ran(tmp_path, metrics=lengths).shape(16) == Shape(16, prompt=5, tokens=100)


def test_requests_of_unequal_length_are_no_shape(tmp_path: Path) -> None:
    lengths = {"prompt_tokens": {"value": 240, "n": 48}, "output_tokens": {"value": 4799, "n": 48}}
    with pytest.raises(SystemExit, match="unequal output_tokens"):
        ran(tmp_path, metrics=lengths).shape(16)


def test_a_figure_that_the_run_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has no throughput_b16"):
        ran(tmp_path, metrics={"throughput_b8": {"value": 1.0, "n": 3}}).figure("throughput_b16")


def test_the_environment_is_the_engines_and_not_the_runs(tmp_path: Path) -> None:
    (tmp_path / "lab.json").write_text('{"environment": {"VLLM_USE_FLASHINFER_SAMPLER": "0"}}')
    adjusted = [{"key": "VLLM_CPU_KVCACHE_SPACE", "value": 2, "why": ""}, {"key": "dtype", "value": "x", "why": ""}]
    found = ran(tmp_path, engine={"adjusted": adjusted}).environment()
    assert (found["VLLM_CPU_KVCACHE_SPACE"], found["VLLM_USE_FLASHINFER_SAMPLER"]) == ("2", "0")
    assert found["VLLM_CACHE_ROOT"] == str(tmp_path / "cache" / "vllm")
    assert "LABCTL_RUN_DIR" not in found
    assert "dtype" not in found
