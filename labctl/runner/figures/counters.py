"""What the server's own counters say of a stretch of time: its metrics before and after, below metrics/."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from labctl.runner import prom, rundir
from labctl.runner.figures.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

HITS, QUERIES = "vllm:prefix_cache_hits", "vllm:prefix_cache_queries"  # tokens
FINISHED = "vllm:request_success"  # requests, by finished_reason


class Grown(NamedTuple):
    """By how much a counter grew, and the two lines that say so."""

    value: float
    sources: list[str]


def grown(run_dir: Path, name: str, counter: str) -> Grown | None:
    """Growth of ``counter`` during ``name`` (a way of batching, ``point-NN``).

    None where a file or the counter is missing, or where it fell: another server answered then.
    """
    found = []
    for file in (rundir.before(name), rundir.after(name)):
        path = run_dir / file
        if not path.is_file():
            return None
        read = list(prom.samples(path.read_text(encoding="utf-8", errors="replace")))
        total = prom.total(read, counter)
        # A counter with labels has no line before it first counts; one without a label is there from the start.
        missing = prom.Sum(0.0, 0) if counter == FINISHED and read else None
        found.append((total or missing, file))
    (first, before), (last, after) = found
    if first is None or last is None or last.value < first.value:
        return None
    lines = [f"{file}:{one.line}" for one, file in ((first, before), (last, after)) if one.line]
    return Grown(last.value - first.value, lines)


def hits(run_dir: Path, name: str) -> Figure:
    """Prompt tokens that were found in the prefix cache during ``name``; the note says of how many looked up."""
    found, asked = grown(run_dir, name, HITS), grown(run_dir, name, QUERIES)
    if found is None:
        return Figure(value=None, unit="tokens", n=0, note="the server's metrics do not say")
    note = f"of {asked.value:.0f} looked up" if asked is not None else ""
    return Figure(value=found.value, unit="tokens", sources=found.sources, note=note)
