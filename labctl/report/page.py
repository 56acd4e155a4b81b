"""From a run directory to ``report/report.html`` and its companions. No network, no clock, no process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.report import load, plots, render
from labctl.report.blocks import Plot
from labctl.report.view import view

if TYPE_CHECKING:
    from pathlib import Path

warm = render.warm


def build(run_dir: Path, *, into: Path | None = None) -> Path:
    """Write report.html, report.md and the plots (those with something to show) and return the page's path.

    Goes to ``run_dir/report`` unless told otherwise. Raises SpecError or RecordError for a spec or record
    that cannot be read, OSError where nothing can be written; whatever else is missing is said on the page.
    """
    warm()
    run = load.read(run_dir)
    context = view(run)
    made = [*context["sections"], *filter(None, [context["gpu"]])]
    drawn = [*_of_every_run(run), *(plot for section in made for plot in section.plots())]
    return render.write(into or run_dir / "report", "report", context, drawn)


def _of_every_run(run: load.Run) -> list[Plot]:
    drawn = (
        ("startup", plots.waterfall(run.record.phases), "Start-up phases over time"),
        ("memory", plots.memory(run.samples, run.record.phases), "Memory and load over time"),
    )
    return [Plot(name, text, label) for name, text, label in drawn if text]
