"""A number with unit, spread and the raw lines it came from, and how raw files are read for it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labctl.runner import events, rundir

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# Sums, differences and ratios of numbers below it stay finite.
_BEYOND = 1e18


@dataclass(slots=True, kw_only=True)
class Figure:
    """``value`` None: unknown, ``note`` says why. ``low`` and ``high``: least and greatest of ``n`` values."""

    value: float | str | None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    n: int = 1
    sources: list[str] = field(default_factory=list)
    note: str = ""


def spread(values: list[float], unit: str, sources: Iterable[str], note: str = "") -> Figure:
    """Median of ``values`` with least and greatest; unknown where there is none."""
    if not values:
        return Figure(value=None, unit=unit, n=0, note=note or "nothing was measured")
    low, high = min(values), max(values)
    middle = round(statistics.median(values), 6)
    return Figure(value=middle, unit=unit, low=low, high=high, n=len(values), sources=list(sources), note=note)


def source(one: dict[str, Any]) -> str:
    """Where an event stands: ``events.jsonl:LINE``."""
    return f"{rundir.EVENTS}:{one['line']}"


def mode(run_dir: Path) -> str:
    """Mode of the run's spec; ``offline`` where there is no spec to say."""
    path = run_dir / rundir.SPEC
    told = events.lenient(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else {}
    return str(told.get("mode") or "offline")


def number(value: object) -> float | None:
    """A raw file's value as a float; None for a text, a boolean, NaN and what is beyond any figure of a run."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if -_BEYOND < value < _BEYOND else None


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """1-based number and object of each line that holds one; nothing where there is no file."""
    if not path.is_file():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), 1):
        row = events.lenient(line)
        if row:
            yield number, row
