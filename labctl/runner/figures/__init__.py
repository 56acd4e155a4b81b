"""Figures: numbers with unit, spread and the raw lines they came from. Pure functions over a run directory.

The host computes them once for the record; ``labctl verify`` computes them again from the same files. One module a
subject; each gives {name: Figure}.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from labctl.runner import enginelog, events
from labctl.runner.figures import arrivals, batches, engine, gpu, limits, passes, resources, serve_bench, serving
from labctl.runner.figures.figure import Figure, mode, spread

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Figure", "compute", "memory_ran_out", "spread"]


def compute(run_dir: Path) -> dict[str, dict[str, Any]]:
    """Every figure of the run by name, as plain data. Missing raw files give unknown figures, never an error."""
    rows = events.read(run_dir)
    told = enginelog.facts(run_dir)
    sampled = list(resources.samples(run_dir))
    of_llm = {**passes.throughput(rows, told), **passes.requests(run_dir)} if mode(run_dir) == "offline" else {}
    found = {
        **of_llm,
        **engine.startup(rows),
        **engine.kv_cache(run_dir, told),
        **engine.reported(told),
        "compile_cache": engine.compile_cache(rows, told),
        **serving.calls(run_dir),
        **batches.batches(run_dir, rows, told),
        **limits.limits(run_dir, rows, told),
        **serve_bench.serve_bench(run_dir, rows, told),
        **arrivals.arrivals(run_dir, rows, told),
        **resources.resources(sampled),
        **gpu.gpu(sampled),
    }
    return {name: asdict(figure) for name, figure in found.items()}


def memory_ran_out(run_dir: Path) -> bool:
    """Whether the engine's log says that memory (GPU, host or KV cache) was too small."""
    return any(fact.name == "out_of_memory" for fact in enginelog.facts(run_dir))
