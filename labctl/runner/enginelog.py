"""Reads logs/engine.log: stamped lines, and the facts that vLLM's own lines tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.runner import logpatterns, rundir

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

# No line that vLLM writes is longer; what a host sends may be.
_LONGEST = 64 * 1024


class Told(NamedTuple):
    """A fact that a log line told: seconds since the anchor, name, fields, 1-based line number."""

    t: float
    name: str
    fields: dict[str, Any]
    line: int


def facts(run_dir: Path) -> list[Told]:
    """Every fact of the engine log in order; unknown lines cost nothing."""
    path = run_dir / rundir.ENGINE_LOG
    if not path.is_file():
        return []
    found = []
    with path.open(encoding="utf-8", errors="replace") as handle:
        for number, line in _lines(handle):
            stamp, _, text = line.strip().partition(" ")
            try:
                t = float(stamp)
            except ValueError:
                continue
            found += [Told(t, fact.name, fact.fields, number) for fact in logpatterns.match(text)]
    return found


def _lines(handle: TextIO) -> Iterator[tuple[int, str]]:
    """Number and text of each line, one that never ends in pieces."""
    number = 1
    while line := handle.readline(_LONGEST):
        yield number, line
        number += line.endswith("\n")
