"""Batching seen: each request's life as a bar, in each way one below the other, and the server's load meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.report import svg
from labctl.report.draw import axes as drawing
from labctl.report.lives import WAYS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from labctl.report.curves import Curve
    from labctl.report.lives import Life

HELD, FIRST, DECODE, FAILED = "#7b8794", "#c27a10", "#2a9464", "#c2354f"
NAMES = {
    HELD: "held back until it may be sent",
    FIRST: "sent, until its first token (queue and prompt)",
    DECODE: "its tokens come (decode)",
    FAILED: "failed",
}
LEAST, EACH, MOST = 0.9, 0.075, 3.2  # inches of a panel: at least, for each request, at most


def lives(ways: Mapping[str, Sequence[Life]]) -> str | None:
    """SVG of the bars of every way on one common time axis; None where no request has a time."""
    from matplotlib.patches import Patch

    filled = {way: found for way, found in ways.items() if found}
    if not filled:
        return None
    heights = [min(MOST, LEAST + EACH * len(found)) for found in filled.values()]
    with svg.style("labctl-lives"):
        figure = svg.canvas(sum(heights) + 0.85)
        panels = figure.subplots(len(filled), 1, sharex=True, height_ratios=heights, squeeze=False).flatten()
        whole = figure.get_figheight()
        figure.subplots_adjust(left=0.06, right=0.99, top=1 - 0.55 / whole, bottom=0.42 / whole, hspace=0.32)
        for axes, (way, found) in zip(panels, filled.items(), strict=True):
            _bars(axes, found)
            axes.set_title(WAYS[way], loc="left", fontsize=8.5)
        end = max(_end(life) for found in filled.values() for life in found)
        panels[-1].set_xlim(0, end * 1.02 or 1.0)
        panels[-1].set_xlabel("seconds since the first of that way could arrive", fontsize=8)
        shown = [FAILED] if any(life.failed for found in filled.values() for life in found) else []
        figure.legend(
            handles=[Patch(color=colour, label=NAMES[colour]) for colour in (HELD, FIRST, DECODE, *shown)],
            loc="upper left", ncols=4, fontsize=7.5, frameon=False, borderaxespad=0.2, bbox_to_anchor=(0.05, 1),
        )  # fmt: skip
        return svg.draw(figure)


def _bars(axes: Axes, found: Sequence[Life]) -> None:
    from matplotlib.ticker import MaxNLocator

    for place, life in enumerate(found):
        steps = [(life.arrived, life.sent, HELD), (life.sent, life.first, FIRST), (life.first, life.done, DECODE)]
        for start, stop, colour in steps:
            if start is not None and stop is not None:
                axes.barh(place, stop - start, left=start, height=0.78, color=colour, linewidth=0)
        if life.failed:
            axes.plot([_end(life)], [place], marker="x", color=FAILED, ms=5)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_ylabel("request", fontsize=8)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.grid(visible=False, axis="y")
    axes.tick_params(length=3, labelsize=8)


def _end(life: Life) -> float:
    return max(time for time in (life.arrived, life.sent, life.first, life.done) if time is not None)


def load(ways: Mapping[str, tuple[Sequence[Curve], Sequence[Curve]]]) -> str | None:
    """SVG of requests (above) and KV cache in use (below) over time, a column for each way."""
    filled = {way: found for way, found in ways.items() if found[0] or found[1]}
    if not filled:
        return None
    with svg.style("labctl-load"):
        figure = svg.canvas(3.2)
        grid = figure.subplots(2, len(filled), sharex="col", sharey="row", height_ratios=(3, 2), squeeze=False)
        figure.subplots_adjust(left=0.075, right=0.99, top=0.92, bottom=0.13, hspace=0.16, wspace=0.08)
        for column, (way, (upper, lower)) in enumerate(filled.items()):
            for axes, curves in ((grid[0][column], upper), (grid[1][column], lower)):
                for place, curve in enumerate(curves):
                    axes.plot(
                        *zip(*curve.points, strict=True), color=drawing.COLOURS[place], label=curve.label, lw=1.4,
                        drawstyle="steps-post",
                    )  # fmt: skip
                axes.tick_params(length=3, labelsize=8)
            grid[0][column].set_title(way, loc="left", fontsize=8.5)
            grid[1][column].set_xlabel("seconds", fontsize=8)
        for axes, label in ((grid[0][0], "requests"), (grid[1][0], "KV cache, %")):
            drawing.from_zero(axes, label)
            if axes.get_legend_handles_labels()[0]:
                drawing.legend(axes)
        return svg.draw(figure)
