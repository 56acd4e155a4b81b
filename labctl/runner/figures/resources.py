"""The samples as read, and of them the memory of the processes and of the GPUs."""

from __future__ import annotations

import contextlib
import csv
import math
from typing import TYPE_CHECKING, NamedTuple

from labctl.runner import rundir
from labctl.runner.figures.figure import Figure, number

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Sample(NamedTuple):
    """One row of samples.csv (columns and units: sampler.py) that ends at ``line``; a field without a number is None.

    ``phase`` is the innermost one that was open, "" for none.
    """

    line: int
    phase: str
    values: dict[str, float | None]


def resources(sampled: list[Sample]) -> dict[str, Figure]:
    """Greatest memory of the worker's process tree and of the GPUs (bytes), and the sampler's rate (Hz)."""
    times = sorted({t for one in sampled if (t := one.values.get("t")) is not None})
    found = {
        "peak_rss": _peak(sampled, "rss", "sum over the worker's processes, shared pages in each"),
        "peak_gpu_memory": _peak(sampled, "gpu_mem_used", "greatest on one GPU"),
    }
    rate = round((len(times) - 1) / (times[-1] - times[0]), 2) if len(times) > 1 else None
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
    return [(value, one.line) for one in sampled if (value := one.values.get(key)) is not None]


def samples(run_dir: Path) -> Iterator[Sample]:
    """The rows of samples.csv up to the first that is no CSV; nothing where there is no file."""
    path = run_dir / rundir.SAMPLES
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8", errors="replace") as handle, contextlib.suppress(csv.Error):
        reader = csv.DictReader(handle)
        for row in reader:
            values = {key: _number(value) for key, value in row.items() if isinstance(key, str)}
            yield Sample(reader.line_num, str(row.get("phase") or ""), values)


def _number(text: object) -> float | None:
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    return number(value)
