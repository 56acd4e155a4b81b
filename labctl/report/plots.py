"""The two plots of the page, drawn from what was recorded: start-up waterfall, memory and load over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.report import svg
from labctl.report.curves import Curve, Span, load_curves, memory_curves, spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from labctl.report.load import Sample

AFTER_START = ("warmup", "generate", "shutdown")
READY = "ready"
COLOURS = {
    "import": "#7b8794", "model": "#5c7cfa", "config": "#9aa5b1", "engine_import": "#a3b1bf",
    "init": "#8d99ae", "weights": "#2f9e8f",
    "compile": "#e8a23d", "profiling": "#b784d8", "kv_cache": "#4c9be8", "graph_capture": "#d96c9d",
    "engine_warmup": "#e07b53", "ready": "#51a351", "warmup": "#c9a227", "generate": "#37a169",
    "shutdown": "#8a8f98",
}  # fmt: skip
OTHER = "#868e96"
CURVES = ("#3b82d6", "#d9662b", "#2f9e6e", "#a855c7", "#c2354f", "#8a7a1f", "#1f8a99", "#6b7280")


def waterfall(phases: Sequence[dict[str, Any]]) -> str | None:
    """SVG of the phases up to the ready engine, one bar each; None where none has a time."""
    rows = starting(spans(phases))
    if not rows:
        return None
    with svg.style("labctl-startup"):
        figure = svg.canvas(0.55 + 0.27 * len(rows))
        height = figure.get_figheight()
        axes = figure.add_axes((0.145, 0.42 / height, 0.845, 1 - 0.5 / height))
        end = max(0.001, *(span.start + (span.seconds or 0) for span in rows))
        for place, span in enumerate(rows):
            _bar(axes, place, span, end)
        axes.set_yticks(range(len(rows)), [span.name for span in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(min(0.0, *(span.start for span in rows)), end * 1.13)
        axes.grid(visible=False, axis="y")
        time_axis(axes)
        return svg.draw(figure)


def starting(found: Sequence[Span]) -> list[Span]:
    """What came before the first ready engine (with it); where it never was, all but what follows a start."""
    names = [span.name for span in found]
    if READY in names:
        return list(found[: names.index(READY) + 1])
    return [span for span in found if span.name not in AFTER_START]


def _bar(axes: Axes, place: int, span: Span, end: float) -> None:
    width = max(span.seconds or 0.0, end * 0.004)
    axes.barh(place, width, left=span.start, height=0.62, color=COLOURS.get(span.name, OTHER), linewidth=0)
    said = "end unknown" if span.seconds is None else f"{span.seconds:,.2f} s"
    if span.name == READY and not span.seconds:
        said = f"at {span.start:,.2f} s"
    place_of = (span.start + width, place)
    axes.annotate(said, place_of, (5, 0), textcoords="offset points", va="center", fontsize=8)


def memory(samples: Sequence[Sample], phases: Sequence[dict[str, Any]]) -> str | None:
    """SVG of memory (above) and load (below) over time, phases shaded; None where nothing was sampled."""
    upper, lower = memory_curves(samples), load_curves(samples)
    if not upper and not lower:
        return None
    with svg.style("labctl-memory"):
        figure = svg.canvas(3.9)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        figure.subplots_adjust(left=0.085, right=0.99, top=0.93, bottom=0.105, hspace=0.14)
        for axes, curves, unit in ((top, upper, "GiB"), (bottom, lower, "%")):
            _panel(axes, curves, unit)
        times = [point[0] for curve in (*upper, *lower) for point in curve.points]
        first, last = min(times), max(times)
        bottom.set_xlim(first, last + 0.1)
        shade((top, bottom), spans(phases), first, last)
        time_axis(bottom)
        return svg.draw(figure)


def _panel(axes: Axes, curves: list[Curve], unit: str) -> None:
    for place, curve in enumerate(curves):
        colour = CURVES[place % len(CURVES)]
        dashes, width = ("--", 1.0) if curve.dashed else ("-", 1.5)
        axes.plot(*zip(*curve.points, strict=True), color=colour, label=curve.label, ls=dashes, lw=width)
    top = max((value for curve in curves for _, value in curve.points), default=0.0) or 1.0
    axes.set_ylim(0, top * 1.28)  # room for the legend
    axes.set_ylabel(unit)
    axes.tick_params(axis="y", labelsize=8)
    if curves:
        legend = axes.legend(loc="upper left", fontsize=7.5, ncols=4, borderaxespad=0.3, handlelength=1.5)
        legend.get_frame().set(facecolor=svg.GROUND, edgecolor="none", alpha=0.8)


def shade(panels: Sequence[Axes], found: Sequence[Span], first: float, last: float) -> None:
    """Shade each phase between the two moments, and name it above the first panel where there is room."""
    for span in found:
        if not span.seconds or span.start > last or span.start + span.seconds < first:
            continue
        start, end = max(first, span.start), min(last, span.start + span.seconds)
        for axes in panels:
            axes.axvspan(start, end, color=COLOURS.get(span.name, OTHER), alpha=0.16, lw=0)
        if end - start > (last - first) * 0.0115 * len(span.name):  # where its name has room
            panels[0].text(
                (start + end) / 2, 1.02, span.name, ha="center", fontsize=7.5, color=svg.FAINT,
                transform=panels[0].get_xaxis_transform(),
            )  # fmt: skip


def time_axis(axes: Axes) -> None:
    """Label the axis below the last panel."""
    axes.set_xlabel("seconds since the run began", fontsize=8)
    axes.tick_params(length=3)
