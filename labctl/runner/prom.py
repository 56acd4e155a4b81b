"""Reads the Prometheus text format (exposition format 0.0.4), as far as figures need it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Sample(NamedTuple):
    """One line: metric name, labels, value, and its 1-based line number."""

    name: str
    labels: dict[str, str]
    value: float
    line: int


def samples(text: str) -> Iterator[Sample]:
    """Every sample line; lines that are none are passed over."""
    for number, line in enumerate(text.splitlines(), 1):
        found = _SAMPLE.match(line)
        if not found:
            continue
        try:
            value = float(found[3])
        except ValueError:
            continue
        yield Sample(found[1], dict(_LABEL.findall(found[2] or "")), value, number)
