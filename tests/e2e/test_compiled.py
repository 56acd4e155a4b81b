"""The compiled engine: a cold start fills the cache, the next one finds it. Two minutes, so not in `make test`."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Project


@pytest.mark.slow
def test_a_second_start_is_warm(project: Project) -> None:
    for name in ("vllm", "inductor", "triton"):
        shutil.rmtree(project.lab_dir / "cache" / name, ignore_errors=True)
    found = []
    for _ in range(2):
        project("run", "offline", "--sampling", "max_tokens=8", "--repeats", "1")
        told = project.record()
        found.append(told["metrics"]["compile_cache"]["value"])
        assert "compile" in [phase["name"] for phase in told["phases"]]
    assert found == ["cold", "warm"]
