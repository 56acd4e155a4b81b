"""What the plots draw: phases and curves out of phases and samples as recorded, bounded and plain."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.report.amounts import finite
from labctl.report.text import line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labctl.report.load import Sample

GIB = 2.0**30
POINTS = 900  # drawn of one curve; of a longer one the highest sample of each bucket
DRAWN = 8  # GPUs, as many as there are colours
LONGEST = 1e8  # seconds; what lies beyond is no time
LARGEST = 1e18  # bytes; what lies beyond is no amount


class Span(NamedTuple):
    """One phase with a usable start; ``seconds`` is None where its end is unknown."""

    name: str
    start: float
    seconds: float | None


class Curve(NamedTuple):
    """One line of a plot."""

    label: str
    points: list[tuple[float, float]]
    dashed: bool = False


def spans(phases: Sequence[dict[str, Any]]) -> list[Span]:
    """List the phases that can be drawn, names reduced to plain ASCII."""
    found = []
    for phase in phases[:64]:
        start, lasted = finite(phase.get("start")), finite(phase.get("seconds"))
        if start is not None and abs(start) < LONGEST and (lasted is None or 0 <= lasted < LONGEST):
            name = line(phase.get("name"), 24).encode("ascii", "replace").decode() or "?"
            found.append(Span(name, start, lasted))
    return found


def memory_curves(samples: Sequence[Sample]) -> list[Curve]:
    """Memory in GiB: of each GPU and of the run; without a GPU also what the machine has left."""
    curves = []
    for gpu in gpus(samples)[:DRAWN]:
        rows = [sample for sample in samples if sample["gpu"] == gpu]
        curves.append(_curve(f"GPU {gpu} used", rows, "gpu_mem_used", GIB))
        curves.append(_curve(f"GPU {gpu} total", rows, "gpu_mem_total", GIB, dashed=True))
    once = _once(samples)
    curves.append(_curve("memory of the run (RSS)", once, "rss", GIB))
    if not gpus(samples):  # beside a GPU's memory the machine's own would only set the scale
        curves.append(_curve("available on the machine", once, "mem_available", GIB, dashed=True))
    return [curve for curve in curves if curve.points]


def load_curves(samples: Sequence[Sample]) -> list[Curve]:
    """Load in percent: of each GPU, of the CPU."""
    curves = [
        _curve(f"GPU {gpu} busy", [sample for sample in samples if sample["gpu"] == gpu], "gpu_util", 1.0)
        for gpu in gpus(samples)[:DRAWN]
    ]
    curves.append(_curve("CPU", _once(samples), "cpu", 1.0))
    return [curve for curve in curves if curve.points]


def gpus(samples: Sequence[Sample]) -> list[str]:
    """Name the GPUs that were sampled in the order of their numbers; one whose name is not plain is left out."""
    found = {str(sample["gpu"]) for sample in samples}
    return sorted(filter(_plain, found), key=lambda name: (not name.isdecimal(), len(name) * name.isdecimal(), name))


def _plain(name: str) -> bool:
    return name.isascii() and name.isalnum()


def _once(samples: Sequence[Sample]) -> list[Sample]:
    """One sample a moment: with several GPUs, what belongs to the machine is repeated in each row."""
    return list({sample["t"]: sample for sample in samples}.values())


def _curve(label: str, rows: Sequence[Sample], name: str, unit: float, *, dashed: bool = False) -> Curve:
    points = [found for row in rows if (found := point(row["t"], row[name], unit))]
    step = -(-len(points) // POINTS) or 1
    kept = [max(points[at : at + step], key=itemgetter(1)) for at in range(0, len(points), step)]
    return Curve(label, sorted(kept), dashed)


def point(t: object, value: object, unit: float) -> tuple[float, float] | None:
    """A sampled value in ``unit`` with its time; None where one of both is no number or far beyond any."""
    if isinstance(t, float) and isinstance(value, float) and abs(t) < LONGEST and 0 <= value < LARGEST:
        return t, value / unit
    return None
