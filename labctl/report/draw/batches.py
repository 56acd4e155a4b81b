"""Throughput over the batch size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.report import svg
from labctl.report.draw import axes as drawing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labctl.report.draw.axes import Point

HEIGHT = 3.4
FAR = 20  # greatest over least
LABEL = "generated tokens per second"


def throughput(measured: Sequence[Point], naive: Sequence[Point], limit: Sequence[Point], of_naive: str) -> str | None:
    """SVG of tokens per second: medians with spread, one unwarmed pass each (``of_naive``), the machine's limit.

    Values that lie far apart are drawn on a logarithmic axis.
    """
    if not measured and not naive:
        return None
    colours = drawing.COLOURS
    lines = [
        drawing.Line("measured: warmed up, median and spread of the repeats", tuple(measured), colours[0]),
        drawing.Line(of_naive, tuple(naive), colours[1], "s", "--"),
        drawing.Line("what the machine's limits allow", tuple(limit), colours[2], "", ":"),
    ]
    values = [point.value for line in lines for point in line.points]
    with svg.style("labctl-batches"):
        figure = svg.canvas(HEIGHT)
        axes = figure.add_axes((0.1, 0.44 / HEIGHT, 0.89, 1 - 0.6 / HEIGHT))
        for line in lines:
            if line.points:
                drawing.draw_line(axes, line)
        drawing.powers(axes, [point.x for line in lines for point in line.points], "batch size (prompts at once)")
        if 0 < FAR * min(values) < max(values):
            drawing.logarithmic(axes, LABEL)
        else:
            drawing.from_zero(axes, LABEL)
        drawing.legend(axes, columns=1)
        return svg.draw(figure)
