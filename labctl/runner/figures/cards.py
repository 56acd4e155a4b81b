"""Which GPUs of its host are the run's own: as many as its engine spans, of those that it may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.runner import rundir
from labctl.runner.figures.machine import read_object
from labctl.runner.span_part import world

if TYPE_CHECKING:
    from pathlib import Path

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_MOST = 1024  # no host has more; what a spec says beyond it is no count
_DIGITS = 4


def own(run_dir: Path) -> frozenset[int] | None:
    """NVML's numbers of the run's GPUs, by its spec and machine/system.json; None where that cannot be known.

    It cannot without a readable spec, where another run's server is asked, where Ray or several hosts place the
    workers, and where CUDA_VISIBLE_DEVICES names anything but plain indices.
    """
    asked = read_object(run_dir / rundir.SPEC)
    engine, count = asked.get("engine"), None
    if isinstance(engine, dict) and not _placed_elsewhere(asked, engine):
        count = _spanned(engine)
    visible = _visible(run_dir, asked)
    if count is None or visible == []:
        return None
    return frozenset(range(count) if visible is None else visible[:count])


def _placed_elsewhere(asked: dict[str, Any], engine: dict[str, Any]) -> bool:
    work = asked.get("workload")
    of_other = isinstance(work, dict) and bool(work.get("server"))
    by_ray = engine.get("distributed_executor_backend") == "ray" or engine.get("data_parallel_backend") == "ray"
    return of_other or by_ray or bool(asked.get("span")) or engine.get("nnodes", 1) != 1


def _spanned(engine: dict[str, Any]) -> int | None:
    """How many GPUs of this host the engine takes; None where its sizes are no counts."""
    try:
        copies = int(engine.get("data_parallel_size_local") or engine.get("data_parallel_size") or 1)
        count = world(engine) * copies
    except (TypeError, ValueError, OverflowError):
        return None
    return count if 0 < count <= _MOST else None


def _visible(run_dir: Path, asked: dict[str, Any]) -> list[int] | None:
    """The indices that CUDA_VISIBLE_DEVICES names, in its order; None where it is not set, [] where it is unclear."""
    told: object = None
    for table in (asked.get("env"), read_object(run_dir / rundir.SYSTEM).get("environment")):
        if told is None and isinstance(table, dict):
            told = table.get(_VISIBLE)
    if told is None:
        return None
    parts = [part.strip() for part in str(told).split(",") if part.strip()]
    plain = all(part.isascii() and part.isdecimal() and len(part) <= _DIGITS for part in parts)
    return [int(part) for part in parts] if plain else []
