"""What the plots share: lines with a spread, axes in powers of two, legends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.report import svg
from labctl.report.amounts import finite, number
from labctl.report.curves import LARGEST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

COLOURS = ("#3b82d6", "#d9662b", "#2f9e6e", "#a855c7", "#c2354f", "#8a7a1f", "#1f8a99", "#6b7280")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
MOST = 64  # ticks with a number of their own


class Point(NamedTuple):
    """One measured value at ``x``, with the least and the greatest where there were several."""

    x: float
    value: float
    low: float | None = None
    high: float | None = None


class Line(NamedTuple):
    """Points of one kind with their name in the legend (this project's own words)."""

    label: str
    points: tuple[Point, ...]
    colour: str
    mark: str = "o"
    dashes: str = "-"


def point(x: object, metric: Mapping[str, object]) -> Point | None:
    """A figure of the record at ``x``; None where one of both is no usable number."""
    place, value = finite(x), finite(metric.get("value"))
    if place is None or value is None or not 0 < place < LARGEST or not 0 <= value < LARGEST:
        return None
    low, high = finite(metric.get("low")), finite(metric.get("high"))
    spread = low is not None and high is not None and 0 <= low <= value <= high < LARGEST
    return Point(place, value, low, high) if spread else Point(place, value)


def draw_line(axes: Axes, line: Line) -> None:
    """Draw the points, joined, each with its spread where it has one."""
    ordered = sorted(line.points)
    look: Any = {"color": line.colour, "marker": line.mark, "ms": 5, "lw": 1.5, "ls": line.dashes, "label": line.label}
    places, middle = [point.x for point in ordered], [point.value for point in ordered]
    if all(point.low is None for point in ordered):
        axes.plot(places, middle, **look)
        return
    errors = [
        [0.0 if point.low is None else point.value - point.low for point in ordered],
        [0.0 if point.high is None else point.high - point.value for point in ordered],
    ]
    axes.errorbar(places, middle, yerr=errors, capsize=3, elinewidth=1, **look)


def powers(axes: Axes, values: Sequence[float], label: str) -> None:
    """An x axis in powers of two with a tick at each measured value."""
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log", base=2)
    ticks = sorted(set(values))[:MOST]
    axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(ticks[0] / 1.3, ticks[-1] * 1.3)
    axes.set_xlabel(label, fontsize=8)


def logarithmic(axes: Axes, label: str) -> None:
    """A y axis in powers of ten, with room for the legend."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.3)
    _numbers(axes, label)


def from_zero(axes: Axes, label: str) -> None:
    """A y axis that begins at zero, with room for the legend."""
    axes.set_ylim(0, (axes.get_ylim()[1] or 1.0) * 1.2)
    _numbers(axes, label)


def _numbers(axes: Axes, label: str) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(round(value, 6)) or ""))
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(length=3)


def legend(axes: Axes, columns: int = 2) -> None:
    """A legend on the page's own ground."""
    made = axes.legend(loc="upper left", fontsize=7.5, ncols=columns, borderaxespad=0.3, handlelength=1.8)
    made.get_frame().set(facecolor=svg.GROUND, edgecolor="none", alpha=0.8)
