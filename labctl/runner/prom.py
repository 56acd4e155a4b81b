"""Reads the Prometheus text format (exposition format 0.0.4), as far as figures need it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

# What no gauge or counter of a server reaches: NaN and infinities fall out with it, and sums stay finite.
_BEYOND = 1e18


class Sample(NamedTuple):
    """One line: metric name, labels, value, and its 1-based line number."""

    name: str
    labels: dict[str, str]
    value: float
    line: int


class Sum(NamedTuple):
    """A metric over all its label sets, and the 1-based number of its first line."""

    value: float
    line: int


def samples(text: str) -> Iterator[Sample]:
    """Every sample line; lines that are none are passed over."""
    for number, line in enumerate(text.split("\n"), 1):
        found = _SAMPLE.match(line)
        if not found:
            continue
        try:
            value = float(found[3])
        except ValueError:
            continue
        yield Sample(found[1], dict(_LABEL.findall(found[2] or "")), value, number)


def total(read: list[Sample], name: str) -> Sum | None:
    """Sum of a gauge, or of a counter (``name`` or ``name_total``), over its label sets; None where it is missing.

    vLLM labels each engine of a data-parallel server (vllm/v1/metrics/loggers.py, 0.32.0): the sum is the server's.
    """
    found = _finite(read, name)
    return Sum(sum(one.value for one in found), found[0].line) if found else None


def greatest(read: list[Sample], name: str) -> Sum | None:
    """Greatest of a gauge's label sets: for a share, of which a sum over engines would be nonsense."""
    found = max(_finite(read, name), key=lambda one: one.value, default=None)
    return Sum(found.value, found.line) if found else None


def _finite(read: list[Sample], name: str) -> list[Sample]:
    return [one for one in read if one.name in {name, f"{name}_total"} and -_BEYOND < one.value < _BEYOND]
