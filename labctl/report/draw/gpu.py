"""The GPUs over time: a panel a quantity, and below them when something held the clocks back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.report import svg
from labctl.report.draw import axes as drawing
from labctl.report.plots import shade, time_axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from labctl.report.curves import Span
    from labctl.report.gpu_curves import Held, Panel

EACH, ROW = 1.05, 0.26  # inches of a panel, and of a row of the strip below
HELD = "#c2354f"
BROAD = 0.003  # of the whole time: no bar is narrower, so that one sample is seen


def over_time(panels: Sequence[Panel], held: Sequence[Held], found: Sequence[Span]) -> str | None:
    """SVG of the panels with the phases shaded, and a strip with a row for each reason; None without a panel."""
    if not panels:
        return None
    reasons = list(dict.fromkeys(one.reason for one in held))
    heights = [EACH] * len(panels) + [0.1 + ROW * len(reasons)] * bool(reasons)
    with svg.style("labctl-gpu"):
        figure = svg.canvas(sum(heights) + 0.75)
        whole = figure.get_figheight()
        grid = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False).flatten())
        left = 0.125 if reasons else 0.085
        figure.subplots_adjust(left=left, right=0.99, top=1 - 0.25 / whole, bottom=0.42 / whole, hspace=0.14)
        several = len(panels[0].curves) > 1
        for axes, panel in zip(grid, panels, strict=False):
            _panel(axes, panel)
        if several:
            drawing.from_zero(grid[0], panels[0].label)  # room for the legend
            drawing.legend(grid[0], columns=8)
        times = [time for panel in panels for curve in panel.curves for time, _ in curve.points]
        first, last = min(times), max(times)
        if reasons:
            _strip(grid[-1], reasons, held, (last - first) * BROAD, several=several)
        grid[-1].set_xlim(first, last + 0.1)
        shade(grid, found, first, last)
        time_axis(grid[-1])
        return svg.draw(figure)


def _panel(axes: Axes, panel: Panel) -> None:
    for place, curve in enumerate(panel.curves):
        if curve.points:
            colour = drawing.COLOURS[place % len(drawing.COLOURS)]
            axes.plot(*zip(*curve.points, strict=True), color=colour, label=curve.label, lw=1.3)
    drawing.from_zero(axes, panel.label)
    axes.tick_params(labelsize=8)


def _strip(axes: Axes, reasons: Sequence[str], held: Sequence[Held], least: float, *, several: bool) -> None:
    """Bars of each reason, one GPU's below the other's."""
    places = sorted({one.place for one in held})
    deep = 0.7 / len(places)
    for one in held:
        top = reasons.index(one.reason) - 0.35 + deep * places.index(one.place)
        colour = drawing.COLOURS[one.place % len(drawing.COLOURS)] if several else HELD
        bars = [(start, max(seconds, least)) for start, seconds in one.bars]
        axes.broken_barh(bars, (top, deep), facecolors=colour, linewidth=0)
    axes.set_ylim(len(reasons) - 0.5, -0.5)
    axes.set_yticks(range(len(reasons)), [_words(reason) for reason in reasons], fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _words(reason: str) -> str:
    """NVML's word on two lines, which fit beside the axis."""
    before, _, last = reason.rpartition("_")
    return f"{before.replace('_', ' ')}\n{last}" if before else last
