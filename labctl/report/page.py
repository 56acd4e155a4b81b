"""From a run directory to ``report/report.html`` and its companions. No network, no clock, no process."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl import __version__
from labctl.report import load, plots, svg
from labctl.report.text import WHOLE, clean, fenced, markdown
from labctl.report.view import view
from labctl.runner import rundir

if TYPE_CHECKING:
    from jinja2 import Template

HTML, MARKDOWN = "report.html", "report.md"
TEMPLATES = Path(__file__).with_name("templates")
PLOTS = (
    ("startup", "startup.svg", "Start-up phases over time"),
    ("memory", "memory.svg", "Memory and load over time"),
)


def warm() -> None:
    """Import what is heavy (about a second): call it in a thread while the run is still going."""
    _keep_font_cache()
    import matplotlib.backends.backend_svg
    import matplotlib.figure

    del matplotlib
    for name in (HTML, MARKDOWN):
        _template(name)


def build(run_dir: Path, *, into: Path | None = None) -> Path:
    """Write report.html, report.md and the plots (those with something to show) and return the page's path.

    Goes to ``run_dir/report`` unless told otherwise. Raises SpecError or RecordError for a spec or record
    that cannot be read, OSError where nothing can be written; whatever else is missing is said on the page.
    """
    warm()
    run = load.read(run_dir)
    drawn = {
        "startup": plots.waterfall(run.record.phases),
        "memory": plots.memory(run.samples, run.record.phases),
    }
    context = {**view(run), "version": __version__}
    target = into or run_dir / "report"
    target.mkdir(parents=True, exist_ok=True)
    for name, file, _ in PLOTS:
        _write(target / file, drawn[name])
    _write(target / MARKDOWN, _markdown(context, drawn))
    _write(target / HTML, _html(context, drawn))
    return target / HTML


def _html(context: dict[str, Any], drawn: dict[str, str | None]) -> str:
    from markupsafe import Markup

    # Safe: drawn by this program; what came from the host is cleaned ASCII, escaped by matplotlib.
    inlined = {
        name: Markup(svg.inline(text, name, label))  # noqa: S704
        for name, _, label in PLOTS
        if (text := drawn[name])
    }
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))  # noqa: S704
    return _template(HTML).render(context, plots=inlined, style=style)


def _markdown(context: dict[str, Any], drawn: dict[str, str | None]) -> str:
    files = {name: file for name, file, _ in PLOTS if drawn[name]}
    return _template(MARKDOWN).render(context, plots=files)


@cache
def _template(name: str) -> Template:
    """Compile a template; each value but Markup is made fit for its language first, then escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def for_html(value: object) -> object:
        return value if isinstance(value, Markup) else clean(value, WHOLE)

    def for_markdown(value: object) -> Markup:
        return value if isinstance(value, Markup) else Markup(markdown(value))  # noqa: S704 escaped just here

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        finalize=for_html if name == HTML else for_markdown,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["fenced"] = lambda value: Markup(fenced(value))  # noqa: S704 a code block
    return environment.get_template(f"{name}.j2")


def _write(path: Path, text: str | None) -> None:
    """Replace a file, or remove the one of an earlier build where there is nothing to show."""
    if text is None:
        path.unlink(missing_ok=True)
    else:
        rundir.write_atomic(path, text.encode("utf-8", "replace"))


def _keep_font_cache() -> None:
    """Let matplotlib keep its font list inside labctl's environment, so that nothing is left in the home."""
    if sys.prefix != sys.base_prefix and os.access(sys.prefix, os.W_OK):
        os.environ.setdefault("MPLCONFIGDIR", str(Path(sys.prefix, "var", "matplotlib")))
