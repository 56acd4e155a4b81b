"""Latencies and throughput over the load on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.report import svg
from labctl.report.draw import axes as drawing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labctl.report.draw.axes import Point

WIDE, HIGH = 4.6, 2.8


def latencies(panels: Mapping[str, Mapping[str, Sequence[Point]]], label: str) -> str | None:
    """SVG with a panel for each kind of latency (ms) and a line in it for each percentile; ``label``: of the load."""
    filled = {title: lines for title, lines in panels.items() if any(lines.values())}
    if not filled:
        return None
    rows = -(-len(filled) // 2)
    with svg.style("labctl-serve-latency"):
        figure = svg.canvas(WIDE / 2 * rows + 0.4)
        grid = figure.subplots(rows, 2, squeeze=False).flatten()
        figure.subplots_adjust(left=0.085, right=0.99, top=0.93, bottom=0.2 / rows, hspace=0.55, wspace=0.2)
        for spare in grid[len(filled) :]:
            spare.remove()
        for axes, (title, lines) in zip(grid, filled.items(), strict=False):
            for place, (name, points) in enumerate(lines.items()):
                if points:
                    look = drawing.COLOURS[place % len(drawing.COLOURS)], drawing.MARKS[place % len(drawing.MARKS)]
                    drawing.draw_line(axes, drawing.Line(name, tuple(points), *look))
            drawing.powers(axes, [point.x for points in lines.values() for point in points], label)
            drawing.from_zero(axes, "ms")
            axes.set_title(title, loc="left")
            drawing.legend(axes, columns=3)
        return svg.draw(figure)


def throughput(lines: Mapping[str, Sequence[Point]], label: str) -> str | None:
    """SVG of tokens per second over the load."""
    if not any(lines.values()):
        return None
    with svg.style("labctl-serve-throughput"):
        figure = svg.canvas(HIGH)
        axes = figure.add_axes((0.085, 0.44 / HIGH, 0.905, 1 - 0.6 / HIGH))
        for place, (name, points) in enumerate(lines.items()):
            if points:
                drawing.draw_line(axes, drawing.Line(name, tuple(points), drawing.COLOURS[place], drawing.MARKS[place]))
        drawing.powers(axes, [point.x for points in lines.values() for point in points], label)
        drawing.from_zero(axes, "tokens per second")
        drawing.legend(axes)
        return svg.draw(figure)
