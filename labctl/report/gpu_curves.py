"""What NVML told over time, ready to be drawn: a panel a quantity, a curve a GPU, and when clocks were held back."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from labctl.report.curves import DRAWN, POINTS, Curve, gpus, point
from labctl.runner.figures.gpu import HARMLESS, names, whole_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labctl.report.load import Sample

# Axis and column of samples.csv.
PANELS = (
    ("busy, %", "gpu_util"), ("power, W", "power_w"), ("SM clock, MHz", "sm_clock_mhz"), ("temp., °C", "temp_c"),
)  # fmt: skip
REASONS = 12  # rows of what held the clocks back
_APART = 1 / POINTS  # of the whole time: what lies closer is drawn as one


class Panel(NamedTuple):
    """One quantity; its curves are in the order of the GPUs, without points where one was not told."""

    label: str
    curves: list[Curve]


class Held(NamedTuple):
    """When a reason was set on the GPU at ``place`` among the curves: (start, seconds) of each stretch."""

    reason: str
    place: int
    bars: list[tuple[float, float]]


def panels(samples: Sequence[Sample]) -> list[Panel]:
    """Quantities that some GPU told, of the first DRAWN GPUs; empty where none was sampled."""
    of_gpus = _by_gpu(samples)
    found = [
        Panel(label, [Curve(f"GPU {gpu}", _points(rows, key)) for gpu, rows in of_gpus.items()])
        for label, key in PANELS
    ]
    return [panel for panel in found if any(curve.points for curve in panel.curves)]


def held_back(samples: Sequence[Sample]) -> list[Held]:
    """Each reason but the harmless ones on each drawn GPU where it was ever set, in the order of NVML's bits."""
    found: dict[int, list[Held]] = {}
    for place, rows in enumerate(_by_gpu(samples).values()):
        masks = [(time, mask) for row in rows if (time := _time(row)) is not None and (mask := _mask(row)) is not None]
        together = 0
        for _, mask in masks:
            together |= mask
        for bit in (1 << one for one in range(together.bit_length()) if together & 1 << one):
            (reason,) = names(bit)
            if reason not in HARMLESS:
                found.setdefault(bit, []).append(Held(reason, place, _stretches(sorted(masks), bit)))
    return [held for bit in sorted(found)[:REASONS] for held in found[bit]]


def _by_gpu(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    return {gpu: [sample for sample in samples if sample["gpu"] == gpu] for gpu in gpus(samples)[:DRAWN]}


def _points(rows: Sequence[Sample], key: str) -> list[tuple[float, float]]:
    """All of a short curve; of a longer one the least and the greatest of each bucket, as clocks matter by dips."""
    points = sorted(found for row in rows if (found := point(row["t"], row[key], 1.0)))
    if len(points) <= POINTS:
        return points
    step = -(-2 * len(points) // POINTS)
    buckets = [points[at : at + step] for at in range(0, len(points), step)]
    return sorted({ends(one, key=itemgetter(1)) for one in buckets for ends in (min, max)})


def _time(row: Sample) -> float | None:
    found = point(row["t"], 0.0, 1.0)
    return found[0] if found else None


def _mask(row: Sample) -> int | None:
    told = row["throttle"]
    return whole_mask(told) if isinstance(told, float) else None


def _stretches(masks: list[tuple[float, int]], bit: int) -> list[tuple[float, float]]:
    """(start, seconds) of what was set, each sample held until the next one; what lies close together is joined."""
    apart = (masks[-1][0] - masks[0][0]) * _APART
    joined: list[tuple[float, float]] = []
    for place, (start, mask) in enumerate(masks):
        if not mask & bit:
            continue
        end = masks[place + 1][0] if place + 1 < len(masks) else start
        if joined and start - joined[-1][1] <= apart:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return [(start, max(end - start, apart)) for start, end in joined]
