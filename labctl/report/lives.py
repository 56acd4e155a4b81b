"""The requests of a batching run as they lived, and the server's load meanwhile: bounded and plain, for drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from labctl.report.amounts import finite
from labctl.report.curves import LONGEST, POINTS, Curve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labctl.report.raw import Row

WAYS = {
    "continuous": "continuous: vLLM takes each as it comes",
    "static": "static: a batch waits for its last, and for the one before",
    "alone": "alone: one after another",
}
DRAWN = 120  # requests of one way


class Life(NamedTuple):
    """Seconds since its way's start: arrived, sent, first token, done (None: never), and whether it failed."""

    number: int
    arrived: float
    sent: float
    first: float | None
    done: float | None
    failed: bool


def lives(rows: Sequence[Row], way: str) -> list[Life]:
    """The requests of one way in the order of their numbers; those without a usable time are left out."""
    found = [life for row in rows if row.get("way") == way and (life := _life(row))]
    return sorted(found)[:DRAWN]


def _life(row: Row) -> Life | None:
    number, arrived, sent = (_time(row.get(name)) for name in ("request", "planned_s", "sent_s"))
    if number is None or arrived is None:
        return None
    sent = arrived if sent is None else max(sent, arrived)
    first, done = _time(row.get("first_s")), _time(row.get("done_s"))
    first = None if first is None or first < sent else first
    done = None if done is None or done < (first or sent) else done
    return Life(int(number), arrived, sent, first, done, row.get("error") is not None)


def _time(value: object) -> float | None:
    real = finite(value)
    return real if real is not None and 0 <= real < LONGEST else None


def starts(events: Sequence[Row]) -> dict[str, float]:
    """When each way began, seconds since the run did."""
    found: dict[str, float] = {}
    for row in events:
        t = _time(row.get("t"))
        if row["event"] == "begin" and isinstance(row.get("phase"), str) and row["phase"] in WAYS and t is not None:
            found.setdefault(row["phase"], t)
    return found


def series(rows: Sequence[Row], way: str, began: float, names: Sequence[tuple[str, str, float]]) -> list[Curve]:
    """Curves of one way over the seconds since its start; ``names``: (key of the rows, label, factor)."""
    of_way = [row for row in rows if row.get("way") == way]
    of_way = of_way[:: -(-len(of_way) // POINTS) or 1]
    curves = [Curve(label, [one for row in of_way if (one := _point(row, key, began, by))]) for key, label, by in names]
    return [curve for curve in curves if curve.points]


def _point(row: Row, key: str, began: float, factor: float) -> tuple[float, float] | None:
    t, value = _time(row.get("t")), _time(row.get(key))
    return None if t is None or value is None else (t - began, value * factor)
