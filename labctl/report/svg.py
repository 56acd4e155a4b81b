"""SVG text from a matplotlib figure: deterministic, without references, themed by CSS where it is inlined."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

# Colours of the standalone file; inlined, each becomes the CSS variable of the page's theme.
INK, FAINT, RULE, GROUND = "#1f2430", "#5d6673", "#d9dde4", "#fdfdfe"
_VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)", RULE: "var(--rule)", GROUND: "var(--ground)"}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_FONTS = ["DejaVu Sans"]  # bundled with matplotlib, so that its measuring is the same on every machine
_STACK = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', 'Liberation Sans', Arial, sans-serif"


@contextmanager
def style(salt: str) -> Iterator[None]:
    """Matplotlib's own defaults (whatever the user's matplotlibrc says) and this page's style on top."""
    import matplotlib as mpl

    ours: Any = {
        "svg.hashsalt": salt, "svg.fonttype": "none", "font.family": _FONTS, "font.size": 9,
        "text.color": INK, "axes.labelcolor": FAINT, "axes.edgecolor": RULE, "xtick.color": RULE,
        "ytick.color": RULE, "xtick.labelcolor": FAINT, "ytick.labelcolor": INK, "grid.color": RULE,
        "grid.linewidth": 0.6, "axes.grid": True, "axes.axisbelow": True, "axes.facecolor": "none",
        "figure.facecolor": "none", "savefig.facecolor": "none", "axes.spines.top": False,
        "axes.spines.right": False, "text.parse_math": False, "axes.titlesize": 9, "xtick.labelsize": 8,
        "ytick.labelsize": 9, "axes.unicode_minus": False,
    }  # fmt: skip
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(ours)
        yield


def canvas(height: float) -> Figure:
    """Make an empty figure of the page's width, ``height`` in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(8.6, height))


def draw(figure: Figure) -> str:
    """Write the standalone SVG of a figure, on the light ground."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    text = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)  # print_svg has no types
    canvas.print_svg(text, metadata=_NO_METADATA)
    drawn = re.sub(r"<metadata>.*?</metadata>\s*", "", text.getvalue(), flags=re.DOTALL)
    drawn = re.sub(r"\s*<!DOCTYPE.*?>", "", drawn, count=1, flags=re.DOTALL)
    drawn = re.sub(r"'DejaVu Sans'(, [a-z-]+)*", _STACK, drawn)
    return drawn.replace("<svg ", f'<svg style="background: {GROUND}" ', 1)


def inline(drawn: str, prefix: str, label: str) -> str:
    """Fit the drawing for the inside of a page: ids made unique, colours as CSS variables.

    ``label`` is this project's own text, as is everything in ``drawn`` but names that were cleaned before.
    """
    body = drawn[drawn.index("<svg ") :]
    body = re.sub(r' xmlns(:xlink)?="[^"]*"', "", body)
    body = re.sub(r"\s*<defs>\s*<style.*?</defs>", "", body, count=1, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda hit: f' id="{prefix}-{hit[1]}"' if hit[1] in used else "", body)
    body = re.sub(r'(href="|url\()#', rf"\1#{prefix}-", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    root = f'<svg role="img" aria-label="{label}" '
    return re.sub(r'^<svg style="[^"]*" ', root, body, count=1)
