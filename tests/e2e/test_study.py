"""A grid with the real engine: one point that runs, one that vLLM refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

TINY = ("--engine", "enforce_eager=true", "--max-tokens", "4", "--repeats", "1")


def test_a_study_of_two_points(project: Project) -> None:
    said = project("run", "offline", "--host", "local", *TINY, "--vary", "engine.max_model_len=512,999999")
    study: dict[str, Any] = json.loads(project("study", "--json", stderr=False))
    good, bad = study["points"]
    assert (good["status"], bad["status"]) == ("ok", "failed")
    assert "max_model_len (999999) is greater than the derived max_model_len" in bad["error"]
    figures = good["figures"]
    # What `labctl params` says of this machine, from a config alone, is what the engine has.
    assert figures["kv_block_size"] == 128
    assert figures["kv_max_concurrency"] == figures["kv_tokens"] / 512
    assert figures["throughput"] > 1
    assert figures["startup"] > 1
    assert figures["peak_rss"] > 1024**3
    assert "1 of 2 ok" in said
    assert "kv_blocks" not in bad["figures"]
    project("study", study["study"], "--resume")
    assert json.loads(project("study", "--json", stderr=False))["points"] == study["points"]
    assert "0 problems" in project("verify", bad["run"])
