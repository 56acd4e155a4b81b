"""The tutorial's parameters as the real vLLM has them: defaults, and the config that it makes without an engine."""

from __future__ import annotations

import fcntl
import json
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest

from labctl import argtables

if TYPE_CHECKING:
    from tests.e2e.conftest import Project


@pytest.fixture(scope="module")
def told(project: Project) -> dict[str, Any]:
    """A real run of `params` while another run holds the device, as a server would."""
    (project.lab_dir / "locks").mkdir(exist_ok=True)
    with (project.lab_dir / "locks" / "cpu.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found: dict[str, Any] = json.loads(project("params", "--host", "local", "--json", stderr=False))
    return found


def rows(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in told["rows"]}


def test_the_defaults_are_those_of_the_published_wheel(told: dict[str, Any]) -> None:
    """Two ways to the same numbers: read on the host from the class, here from the wheel's source text."""
    assert (told["status"], told["vllm"].partition("+")[0], told["device"]) == ("ok", "0.32.0", "cpu")
    table = argtables.load("0.32.0").engine
    found = rows(told)
    assert len(found) == 11
    assert {name: row["default"] for name, row in found.items() if name in table} == {
        name: table[name].default for name in found if name in table
    }
    assert {name for name in found if name not in table} == {"swap_space"}


def test_what_they_come_to_on_a_cpu(told: dict[str, Any]) -> None:
    found = {name: (row["resolved"], row["resolved_serve"]) for name, row in rows(told).items()}
    assert found["max_num_seqs"] == (256, 128)
    assert found["max_num_batched_tokens"] == (4096, 2048)
    assert found["block_size"] == (128, 128)
    assert found["max_model_len"] == (2048, 2048)
    assert found["enable_prefix_caching"] == (True, True)
    assert found["gpu_memory_utilization"] == (0.92, 0.92)
    assert found["tensor_parallel_size"] == found["pipeline_parallel_size"] == (1, 1)
    assert found["dtype"][0] in {"float16", "bfloat16"}
    assert found["swap_space"] == (None, None)
    assert rows(told)["swap_space"]["removed_in"] == "0.18.0"


def test_where_the_tutorial_is_wrong_by_now(told: dict[str, Any]) -> None:
    differs = {name: row["tutorial"] for name, row in rows(told).items() if row["differs"]}
    assert differs == {
        "gpu_memory_utilization": 0.9,
        "block_size": 16,
        "swap_space": 4,
        "max_num_seqs": 256,
        "enable_prefix_caching": False,
    }
    assert all(set(row["meaning"]) == {"en", "zh"} for row in told["rows"])
    assert "VLLM_CPU_KVCACHE_SPACE=" in rows(told)["gpu_memory_utilization"]["note"]


def test_it_is_a_recorded_run_that_touched_no_gpu(project: Project, told: dict[str, Any]) -> None:
    assert "0 problems" in project("verify", told["run"])
    record = project.record(project.runs_dir / told["run"])
    assert [phase["name"] for phase in record["phases"]] == ["import", "model", "config"]
    assert any(one["path"] == "parameters.json" for one in record["artifacts"])
    events = (project.runs_dir / told["run"] / "events.jsonl").read_text()
    assert '"cuda_initialized": false' in events


def test_a_config_that_vllm_refuses_in_chinese(project: Project) -> None:
    """The run fails and says why; the defaults are told all the same, in columns that line up."""
    said = project("params", "--engine", "max_model_len=999999", "--lang", "zh", code=1)
    assert "User-specified max_model_len (999999) is greater than the derived max_model_len" in said
    table = [line for line in said.splitlines() if line.startswith(("参数", "--")) and "：" not in line[:40]]
    assert len(table) == 12
    at = [_columns(line[: line.index(word)]) for line, word in ((table[0], "默认值"), (table[1], "Qwen/Qwen3-0.6B"))]
    assert at[0] == at[1]
    assert "从 vLLM 0.18.0 起已删除" in said
    assert "未设定" in said


def _columns(text: str) -> int:
    """How wide a terminal shows a text (UAX 11)."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)
