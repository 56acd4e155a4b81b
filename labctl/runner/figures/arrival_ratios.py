"""How one way of batching compares with another: ratios of the figures that arrivals.py makes."""

from __future__ import annotations

from labctl.runner.figures.figure import Figure


def ratios(found: dict[str, Figure], ways: list[str], bound: set[str]) -> dict[str, Figure]:
    """How many times as good ``continuous`` was: its throughput / the other's, the other's mean latency / its own.

    Unknown where requests of either failed (fewer were served), and the throughputs' where both only kept up with
    the arrivals. The notes of both stand behind the first words.
    """
    made: dict[str, Figure] = {}
    for way in ways:
        if way == "continuous":
            continue
        why = "requests failed" if any(_any_failed(found, one) for one in ("continuous", way)) else ""
        paced = "both are bound by the arrivals" if {"continuous", way} <= bound else ""
        here, there = found.get("throughput_continuous"), found[f"throughput_{way}"]
        least = "at least" if "continuous" in bound else ""
        made[f"ratio_{way}"] = _ratio(here, there, f"throughput, continuous / {way}", why or paced, least)
        here, there = found.get("latency_continuous"), found[f"latency_{way}"]
        made[f"latency_ratio_{way}"] = _ratio(there, here, f"mean latency, {way} / continuous", why)
    return made


def _any_failed(found: dict[str, Figure], way: str) -> bool:
    return f"failed_{way}" in found and bool(found[f"failed_{way}"].value)


def _ratio(above: Figure | None, below: Figure | None, what: str, why: str, more: str = "") -> Figure:
    values = [one.value if one is not None and isinstance(one.value, float) else None for one in (above, below)]
    if above is None or below is None or values[0] is None or not values[1]:
        return Figure(value=None, unit="x", n=0, note=f"{what}; one of both is unknown")
    if why:
        return Figure(value=None, unit="x", n=0, note=f"{what}; {why}")
    said = [part for one in (above, below) for part in one.note.split("; ")]
    note = "; ".join(filter(None, (what, more, *dict.fromkeys(said))))
    return Figure(value=round(values[0] / values[1], 3), unit="x", sources=above.sources + below.sources, note=note)
