"""Memory of the processes and of the GPUs, from the samples."""

from __future__ import annotations

import contextlib
import csv
import math
from typing import TYPE_CHECKING

from labctl.runner import rundir
from labctl.runner.figures.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def resources(run_dir: Path) -> dict[str, Figure]:
    """Greatest memory of the worker's process tree and of the GPUs (bytes), and the sampler's rate (Hz)."""
    rows = list(_samples(run_dir))
    times = sorted({t for r in rows if (t := r.get("t")) is not None})
    found = {
        "peak_rss": _peak(rows, "rss", "sum over the worker's processes, shared pages in each"),
        "peak_gpu_memory": _peak(rows, "gpu_mem_used", "greatest on one GPU"),
    }
    rate = round((len(times) - 1) / (times[-1] - times[0]), 2) if len(times) > 1 else None
    found["sampler_rate"] = Figure(value=rate, unit="Hz", n=len(times), sources=[rundir.SAMPLES])
    return found


def _peak(rows: list[dict[str, float | None]], key: str, note: str) -> Figure:
    values = [(value, line) for line, r in enumerate(rows, 2) if (value := r.get(key)) is not None]
    if not values:
        return Figure(value=None, unit="bytes", n=0, note="not sampled on this machine")
    value, line = max(values)
    return Figure(value=int(value), unit="bytes", n=len(values), sources=[f"{rundir.SAMPLES}:{line}"], note=note)


def _samples(run_dir: Path) -> Iterator[dict[str, float | None]]:
    path = run_dir / rundir.SAMPLES
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8", errors="replace") as handle, contextlib.suppress(csv.Error):
        for row in csv.DictReader(handle):
            yield {key: _number(value) for key, value in row.items() if isinstance(key, str)}


def _number(text: object) -> float | None:
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
