"""What an engine gets beyond what was asked: adjustments to the lab, each with its reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import engine_args, machine, model, spec, workloads

if TYPE_CHECKING:
    from pathlib import Path

CHOICE = model.Choice("m", "/models/m", synthetic=False, weights="local", why="")


def settled(folder: Path, card: object, engine: dict[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    (folder / "lab.json").write_text(json.dumps(card), encoding="utf-8")
    asked = spec.RunSpec(
        lab="l", mode="offline", model="m", workload=workloads.Prompts(prompts=("Hi",)), engine=engine or {}
    )
    used, rows = engine_args._settle(asked, CHOICE, folder)
    return used, [row["key"] for row in rows]


@pytest.mark.parametrize(
    ("variant", "vllm", "told"),
    [
        ("cuda", "0.25.1", True), ("cuda", "0.24.0", True), ("cuda", "0.32.0+cu130", True), ("cuda", "1.0.0", True),
        ("cuda", "0.23.2", False), ("cuda", None, False), ("rocm", "0.25.1", False),
    ],
)  # fmt: skip
def test_a_gpu_engine_tells_of_every_kernel_it_compiles(tmp_path: Path, variant: str, vllm: str, *, told: bool) -> None:
    used, keys = settled(tmp_path, {"variant": variant, "vllm": vllm})
    assert (used.get("jit_monitor_verbose"), keys) == ((True, ["jit_monitor_verbose"]) if told else (None, []))


def test_who_asks_otherwise_gets_it(tmp_path: Path) -> None:
    used, keys = settled(tmp_path, {"variant": "cuda", "vllm": "0.25.1"}, {"jit_monitor_verbose": False})
    assert (used["jit_monitor_verbose"], keys) == (False, [])


@pytest.mark.parametrize("card", [[], None, "text", {"without": ["a"], "environment": 1}])
def test_a_card_that_is_none_says_nothing(tmp_path: Path, card: object) -> None:
    assert settled(tmp_path, card)[1] == []
    assert machine._of_card(tmp_path, "without") == machine._of_card(tmp_path, "environment") == {}


def test_what_was_left_out_is_read_from_the_card(tmp_path: Path) -> None:
    settled(tmp_path, {"without": {"flashinfer-cubin": "named by vllm_without"}})
    assert machine._of_card(tmp_path, "without") == {"flashinfer-cubin": "named by vllm_without"}
