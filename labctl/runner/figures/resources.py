"""The samples as read, and of them the memory of the processes and of the GPUs."""

from __future__ import annotations

import contextlib
import csv
import functools
import sys
from typing import TYPE_CHECKING, NamedTuple

from labctl.runner import rundir
from labctl.runner.figures import cards
from labctl.runner.figures.figure import Figure, number

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Sample(NamedTuple):
    """One row of samples.csv (columns and units: sampler.py) that ends at ``line``; a field without a number is None.

    ``phase`` is the innermost one that was open, "" for none; ``ours``: whether the GPU is one of the run's (cards.py),
    None where that cannot be known. A tuple, and of the columns that a figure needs: a long run has millions.
    """

    line: int
    phase: str
    ours: bool | None
    t: float | None
    gpu: float | None
    gpu_mem_used: float | None
    gpu_util: float | None
    gpu_mem_util: float | None
    power_w: float | None
    sm_clock_mhz: float | None
    mem_clock_mhz: float | None
    temp_c: float | None
    throttle: float | None
    rss: float | None


_GPU = "gpu"
_NUMBERS = Sample._fields[Sample._fields.index("t") :]
_REPEATED = 4096  # texts remembered: the samples of a moment, and the clocks over time, are largely the same


def resources(sampled: list[Sample]) -> dict[str, Figure]:
    """Greatest memory of the worker's process tree and of the GPUs (bytes), and the sampler's rate (Hz)."""
    times = {one.t for one in sampled if one.t is not None}
    found = {
        "peak_rss": _peak(sampled, "rss", "sum over the worker's processes, shared pages in each"),
        "peak_gpu_memory": _peak(sampled, "gpu_mem_used", "greatest on one GPU"),
    }
    rate = round((len(times) - 1) / (max(times) - min(times)), 2) if len(times) > 1 else None
    found["sampler_rate"] = Figure(value=rate, unit="Hz", n=len(times), sources=[rundir.SAMPLES])
    return found


def _peak(sampled: list[Sample], key: str, note: str) -> Figure:
    values = known(sampled, key)
    if not values:
        return Figure(value=None, unit="bytes", n=0, note="not sampled on this machine")
    value, line = max(values)
    return Figure(value=int(value), unit="bytes", n=len(values), sources=[f"{rundir.SAMPLES}:{line}"], note=note)


def known(sampled: list[Sample], key: str) -> list[tuple[float, int]]:
    """(value, line) of each sample that has a number in this column."""
    return [(value, one.line) for one in sampled if (value := getattr(one, key)) is not None]


def samples(run_dir: Path) -> Iterator[Sample]:
    """The rows of samples.csv up to the first that is no CSV; nothing where there is no file."""
    path = run_dir / rundir.SAMPLES
    if not path.is_file():
        return
    own = cards.own(run_dir)
    with path.open(newline="", encoding="utf-8", errors="replace") as handle, contextlib.suppress(csv.Error):
        reader = csv.reader(handle)
        head = {name: place for place, name in enumerate(next(reader, []))}
        places, of_gpu, of_phase = [head.get(name) for name in _NUMBERS], head.get(_GPU), head.get("phase")
        for row in reader:
            if row:
                values = [_number(_cell(row, place)) for place in places]
                ours = None if own is None else _number(_cell(row, of_gpu)) in own
                yield Sample(reader.line_num, sys.intern(_cell(row, of_phase)), ours, *values)


def _cell(row: list[str], place: int | None) -> str:
    return row[place] if place is not None and place < len(row) else ""


@functools.lru_cache(maxsize=_REPEATED)
def _number(text: str) -> float | None:
    try:
        return number(float(text))
    except ValueError:
        return None
