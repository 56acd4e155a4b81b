from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from labctl.runner import parameters, spec
from labctl.runner.parameters import Found

if TYPE_CHECKING:
    from pathlib import Path


def config(seqs: int, block: int = 16, *, caching: bool = True) -> Any:
    """The parts of a VllmConfig that are read."""
    return SimpleNamespace(
        model_config=SimpleNamespace(model="m", max_model_len=2048, dtype="torch.bfloat16"),
        parallel_config=SimpleNamespace(tensor_parallel_size=1, pipeline_parallel_size=1),
        cache_config=SimpleNamespace(gpu_memory_utilization=0.92, block_size=block, enable_prefix_caching=caching),
        scheduler_config=SimpleNamespace(max_num_seqs=seqs, max_num_batched_tokens=8192),
    )


DEFAULTS = {
    "model": "Qwen/Qwen3-0.6B", "tensor_parallel_size": 1, "pipeline_parallel_size": 1, "gpu_memory_utilization": 0.92,
    "max_model_len": None, "block_size": None, "max_num_batched_tokens": None, "max_num_seqs": None,
    "enable_prefix_caching": None, "dtype": "auto",
}  # fmt: skip


def rows(tmp_path: Path, found: Found, **engine: Any) -> dict[str, dict[str, Any]]:
    work = {"kind": "parameters"}
    asked = spec.from_dict({"lab": "params", "model": "m", "workload": work, "engine": engine})
    parameters._write(tmp_path, asked, found)
    told = json.loads((tmp_path / parameters.FILE).read_text(encoding="utf-8"))
    assert (told["schema"], told["vllm"], told["model"], told["device"]) == (1, found.vllm, "m", found.device)
    return {row["name"]: row for row in told["rows"]}


def on_gpu(**defaults: Any) -> Found:
    both = {"resolved": config(1024), "resolved_serve": config(1024)}
    return Found("0.32.0", {**DEFAULTS, **defaults}, both, "cuda")


def test_a_large_gpu(tmp_path: Path) -> None:
    found = rows(tmp_path, on_gpu())
    assert (found["max_num_seqs"]["resolved"], found["max_num_seqs"]["differs"]) == (1024, True)
    assert (found["block_size"]["resolved"], found["block_size"]["differs"]) == (16, False)
    assert found["block_size"]["note"] == "resolved at run time by the attention backend, fallback 16"
    assert found["gpu_memory_utilization"]["note"] == ""
    assert found["dtype"]["resolved"] == "bfloat16"
    assert found["dtype"]["note_zh"] == "auto 表示跟随模型配置（float32 会转换为 16 位类型）"
    assert found["dtype"]["note"] == "auto follows the model's config, but casts float32 to 16 bits"
    assert found["swap_space"]["meaning"]["zh"] == "用于存放被抢占请求 KV 块的主机内存（GiB）"
    assert found["block_size"]["note_zh"] == "运行时由注意力后端决定，默认回退值为 16"
    assert found["swap_space"]["removed_in"] == "0.18.0"
    assert found["swap_space"]["default_source"] is None
    assert "from" not in found["swap_space"]["note"]


def test_what_the_user_set_is_no_difference_of_the_defaults(tmp_path: Path) -> None:
    found = rows(tmp_path, on_gpu(), max_num_seqs=1024)
    assert found["max_num_seqs"]["differs"] is False
    # An older release has the tutorial's value.
    assert rows(tmp_path, on_gpu(gpu_memory_utilization=0.9))["gpu_memory_utilization"]["differs"] is False


def test_one_way_to_an_engine_is_enough_to_differ(tmp_path: Path) -> None:
    found = on_gpu()
    found.configs = {"resolved": config(256), "resolved_serve": config(128)}
    assert rows(tmp_path, found)["max_num_seqs"]["differs"] is True
    found.configs["resolved_serve"] = config(256)
    assert rows(tmp_path, found)["max_num_seqs"]["differs"] is False


def test_a_cpu(tmp_path: Path) -> None:
    both = {"resolved": config(256, 128), "resolved_serve": config(128, 128)}
    found = rows(tmp_path, Found("0.32.0", DEFAULTS, both, "cpu", {"dtype": "why"}, "2"))
    assert "VLLM_CPU_KVCACHE_SPACE=2 (GiB)" in found["gpu_memory_utilization"]["note"]
    assert "VLLM_CPU_KVCACHE_SPACE=2（GiB）" in found["gpu_memory_utilization"]["note_zh"]
    assert found["block_size"]["note"].startswith("vLLM's CPU platform")
    assert found["dtype"]["note"].endswith("here labctl sets it: why")
    assert found["block_size"]["differs"] is True


def test_before_there_is_a_config_the_defaults_stand(tmp_path: Path) -> None:
    found = rows(tmp_path, Found("0.32.0", DEFAULTS))
    assert found["gpu_memory_utilization"]["default"] == 0.92
    assert {row["resolved"] for row in found.values()} == {None}
    assert {row["resolved_by"] for row in found.values()} == {None}


def test_an_argument_that_this_vllm_lost_later(tmp_path: Path) -> None:
    known = {name: value for name, value in DEFAULTS.items() if name != "max_num_seqs"}
    row = rows(tmp_path, Found("0.99.0", known))["max_num_seqs"]
    assert (row["removed_in"], row["note"], row["note_zh"]) == (
        None, "this vLLM does not have it", "此版本的 vLLM 没有这个参数",
    )  # fmt: skip
