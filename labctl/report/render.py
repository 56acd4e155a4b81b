"""Writes a page: report.html, report.md and its drawings, from what a view gives. No network, no clock, no process."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl import __version__
from labctl.report import svg
from labctl.report.text import WHOLE, clean, fenced, markdown
from labctl.runner import rundir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Template

    from labctl.report.blocks import Plot

TEMPLATES = Path(__file__).with_name("templates")
HTML = "html"
# Every drawing that any page can have: one that a page has no longer is removed.
DRAWINGS = (
    "startup", "memory", "batches", "serve-latency", "serve-throughput", "lives", "load", "gpu", "study",
)  # fmt: skip


def warm() -> None:
    """Import what is heavy (about a second): call it in a thread while the run is still going."""
    _keep_font_cache()
    import matplotlib.backends.backend_svg
    import matplotlib.figure

    del matplotlib
    for name in ("report.html", "report.md"):
        _template(name)


def write(target: Path, name: str, context: dict[str, Any], plots: Sequence[Plot]) -> Path:
    """Write the pages of a template (``report``, ``study``) into a folder and return the path of the HTML.

    Raises OSError where nothing can be written.
    """
    from markupsafe import Markup

    target.mkdir(parents=True, exist_ok=True)
    drawn = {plot.name: plot for plot in plots}
    for file in DRAWINGS:
        _write(target / f"{file}.svg", drawn[file].drawn if file in drawn else None)
    context = {**context, "version": __version__}
    files = {file: f"{file}.svg" for file in drawn}
    _write(target / f"{name}.md", _template(f"{name}.md").render(context, plots=files))
    # Safe: drawn by this program; what came from the host is cleaned ASCII, escaped by matplotlib.
    inlined = {plot.name: Markup(svg.inline(plot.drawn, plot.name, plot.label)) for plot in plots}  # noqa: S704
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))  # noqa: S704
    _write(target / f"{name}.html", _template(f"{name}.html").render(context, plots=inlined, style=style))
    return target / f"{name}.html"


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
        finalize=for_html if name.endswith(HTML) else for_markdown,
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
