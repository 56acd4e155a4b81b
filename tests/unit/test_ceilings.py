"""When a machine's measured limits may be kept, and in which number type they are measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from labctl.runner import ceilings
from labctl.runner.rates import Device

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("spent", "processes", "taken"),
    [
        (["GPU-1b2c, 0 %"], [], False), (["GPU-1b2c, 37 %"], [], True), (["GPU-1b2c, 0 %"], ["GPU-1b2c, 4711"], True),
        (["GPU-1b2c, [N/A]"], [], False), ([], [], False), ([], ["GPU-1b2c, 4711"], True),
    ],
)  # fmt: skip
def test_a_gpu_that_others_compute_on_is_busy(spent: list[str], processes: list[str], *, taken: bool) -> None:
    assert ceilings.taken(spent, processes) is taken


def measured(rate: float) -> dict[str, Any]:
    return {"kind": "cuda", "measured_utc": "2026", "bandwidth": {"bytes_per_s": [rate]},
            "matmul": {"flop_per_s": [rate]}, "busy": False}  # fmt: skip


def test_a_ceiling_measured_beside_others_is_measured_again_and_the_best_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The GPU itself: a unit test has none.
    rates, others = iter((1.0, 3.0)), iter((True, False))
    monkeypatch.setattr(ceilings, "_measure", lambda _: measured(next(rates)))
    monkeypatch.setattr(ceilings, "others_on", lambda _: next(others))
    found, reused = ceilings._entry(tmp_path, "key", "bfloat16", "GPU-1b2c")
    assert (found["busy"], reused) == (True, False)
    found, reused = ceilings._entry(tmp_path, "key", "bfloat16", "GPU-1b2c")
    assert (found["busy"], reused, found["matmul"]["flop_per_s"]) == (False, False, [3.0])
    assert ceilings._entry(tmp_path, "key", "bfloat16", "GPU-1b2c") == (found, True)


@pytest.mark.parametrize(
    ("kind", "able", "wished", "number"),
    [
        ("cuda", False, "bfloat16", "float16"), ("cuda", True, "bfloat16", "bfloat16"),
        ("cuda", False, "float32", "float32"), ("cpu", False, "bfloat16", "bfloat16"),
    ],
)  # fmt: skip
def test_a_gpu_without_bfloat16_is_measured_as_vllm_uses_it(kind: str, wished: str, number: str, *, able: bool) -> None:
    device = object.__new__(Device)
    device.kind = kind

    def supported(*, including_emulation: bool) -> bool:
        return able or including_emulation

    device.torch = cast("Any", SimpleNamespace(cuda=SimpleNamespace(is_bf16_supported=supported)))
    assert device.number(wished) == number
