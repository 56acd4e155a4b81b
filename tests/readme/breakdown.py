"""Where the time of a start goes: a cold one, two warm ones, and one for which no compiled kernels were kept."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from labctl.report.amounts import number
from labctl.report.text import DASH
from labctl.runner.figures import engine
from tests.readme import shown
from tests.readme.golden import GoldenError
from tests.readme.words import word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.readme.golden import Golden, Goldens

ROUNDING = 0.1  # seconds between the sum of the phases and the start-up: each is rounded by itself
SHORT = 0.1  # seconds: of shorter phases a ratio says nothing


def text(goldens: Goldens, language: str) -> str:
    """The table, in seconds. Raises GoldenError."""
    # Of the last one Triton's cache alone was empty: what its kernels cost, for it says cold too.
    names = {"cold": "cold", "warm-1": "warm", "warm-2": "warm", "unkept": "cold"}
    runs = [goldens(f"h100-offline-{name}", state) for name, state in names.items()]
    shown.where(runs, language)  # what cannot stand in one table is refused
    taken = [parts(golden) for golden in runs]
    phases = dict.fromkeys(name for one in taken for name in one)
    head = word("phase", language).format(shown.model(runs, language))
    warm = [word("again", language).format(n) for n in (1, 2)]
    return shown.table(
        [
            [head, word("first", language), *warm, word("ratio", language), word("unkept", language)],
            *(_row(word(name, language), [one.get(name) for one in taken]) for name in phases),
            _row(word("sum", language), [golden.amount("startup") for golden in runs]),
        ]
    )


def parts(golden: Golden) -> dict[str, float]:
    """Seconds of each phase that counts as start-up, in order. Raises GoldenError where they do not add up to it."""
    found: dict[str, float] = {}
    for phase in golden.phases:
        if phase["name"] not in engine._ASIDE:
            found[phase["name"]] = found.get(phase["name"], 0.0) + (phase["seconds"] or 0.0)
        if phase["name"] == "ready":
            break
    total, startup = sum(found.values()), golden.amount("startup")
    if startup is None or abs(total - startup) > ROUNDING:
        raise GoldenError(f"the phases of the golden run {golden.name} take {total:.3f} s, its start-up {startup} s")
    return found


def _row(name: str, seconds: Sequence[float | None]) -> list[str]:
    cold, *warm, unkept = seconds
    again = [value for value in warm if value is not None]
    ratio = number(statistics.median(again) / cold) if cold is not None and cold >= SHORT and again else None
    return [name, *(number(value) or DASH for value in (cold, *warm)), ratio or DASH, number(unkept) or DASH]
