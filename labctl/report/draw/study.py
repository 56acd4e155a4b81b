"""The effect of a varied setting: a panel for each figure, a line for each combination of the other settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.report import svg
from labctl.report.draw import axes as drawing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from labctl.report.draw.axes import Point

EACH = 2.3  # inches of a row of panels
LINES = 8


def effect(panels: Mapping[str, Mapping[str, Sequence[Point]]], ticks: Sequence[str], label: str) -> str | None:
    """SVG of panels {title with unit: {line: points}}; ``ticks``: what each place 1, 2, … on the x axis stands for.

    All texts have been reduced to plain ones before. None where no panel has a point.
    """
    filled = {title: lines for title, lines in panels.items() if any(lines.values())}
    if not filled:
        return None
    rows = -(-len(filled) // 2)
    with svg.style("labctl-study"):
        figure = svg.canvas(EACH * rows + 0.35)
        whole = figure.get_figheight()
        grid = figure.subplots(rows, 2, squeeze=False).flatten()
        figure.subplots_adjust(
            left=0.085, right=0.99, top=1 - 0.3 / whole, bottom=0.5 / whole, hspace=0.62, wspace=0.22
        )
        for spare in grid[len(filled) :]:
            spare.remove()
        for axes, (title, lines) in zip(grid, filled.items(), strict=False):
            _panel(axes, lines, ticks, label)
            axes.set_title(title, loc="left")
        return svg.draw(figure)


def _panel(axes: Axes, lines: Mapping[str, Sequence[Point]], ticks: Sequence[str], label: str) -> None:
    named = [(name, points) for name, points in lines.items() if points][:LINES]
    for place, (name, points) in enumerate(named):
        drawing.draw_line(axes, drawing.Line(name, tuple(points), drawing.COLOURS[place], drawing.MARKS[place]))
    axes.set_xticks(range(1, len(ticks) + 1), ticks)
    axes.set_xlim(0.6, len(ticks) + 0.4)
    axes.set_xlabel(label, fontsize=8)
    drawing.from_zero(axes, "")
    if len(named) > 1:
        drawing.legend(axes)
