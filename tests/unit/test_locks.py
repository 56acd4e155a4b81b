from __future__ import annotations

import pytest

from labctl.runner import locks

GPUS = [("0", "GPU-aaaa-1"), ("1", "GPU-aabb-2"), ("2", "GPU-cccc-3")]
ALL = [uuid for _, uuid in GPUS]


@pytest.mark.parametrize(
    ("visible", "held"),
    [
        (None, ALL),
        ("1", ["GPU-aabb-2"]),
        ("2, 0", ["GPU-cccc-3", "GPU-aaaa-1"]),
        ("GPU-cccc", ["GPU-cccc-3"]),
        ("GPU-aa", ALL),
        ("MIG-1234", ALL),
        ("7", ALL),
        ("", ["cpu"]),
    ],
)
def test_what_cuda_would_use_is_locked_and_all_of_it_when_unclear(visible: str | None, held: list[str]) -> None:
    assert locks.chosen(GPUS, visible) == held


def test_no_gpu_listed_is_one_coarse_lock() -> None:
    assert locks.chosen([], None) == ["gpu"]
