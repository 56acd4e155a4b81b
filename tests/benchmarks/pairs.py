"""Interleaved pairs: A and B by turns in one run, so that a noisy machine is noisy for both."""

from __future__ import annotations

import random
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Ratio(NamedTuple):
    """Median of A/B over the pairs, with a 95 % bootstrap interval; medians of A and B in their own unit."""

    median: float
    low: float
    high: float
    a: float
    b: float
    pairs: int

    def __str__(self) -> str:
        interval = f"[{self.low:.2f}, {self.high:.2f}]"
        return f"{self.median:.2f} {interval} ({self.a:.3g} against {self.b:.3g}, {self.pairs} pairs)"


def compare(first: Callable[[], float], second: Callable[[], float], pairs: int) -> Ratio:
    """Measure both ``pairs`` times, changing who goes first, and give the ratio first/second."""
    rows = []
    for number in range(pairs):
        if number % 2:
            b = second()
            a = first()
        else:
            a = first()
            b = second()
        rows.append((a, b))
    return ratio(rows)


def ratio(rows: list[tuple[float, float]]) -> Ratio:
    """The median ratio of measured pairs with its interval."""
    ratios = [a / b for a, b in rows]
    chance = random.Random(0)  # noqa: S311 - a bootstrap, repeatable, no secret
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(2000))
    return Ratio(
        statistics.median(ratios),
        medians[50],
        medians[1949],
        statistics.median(a for a, _ in rows),
        statistics.median(b for _, b in rows),
        len(rows),
    )
