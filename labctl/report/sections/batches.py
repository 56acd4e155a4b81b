"""Throughput at each batch size, beside the tutorial's own loop, and how far it is from the machine's limits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labctl.report.amounts import number
from labctl.report.blocks import Fold, Plot, Section, cell, table
from labctl.report.draw.axes import point
from labctl.report.draw.batches import throughput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labctl.report.blocks import Block, Cell
    from labctl.report.shown import Shown

SIZED = re.compile(r"throughput_b(\d{1,9})")
MOST = 200  # batch sizes
# Column -> figure of each size, and whether its note is worth a second line.
COLUMNS = (
    ("throughput", "throughput", False),
    ("tutorial's loop", "tutorial", False),
    ("first pass", "first_pass", False),
    ("measured / loop", "warm_over_tutorial", False),
    ("limit here", "limit", False),
    ("bandwidth used", "bandwidth_utilisation", True),
    ("matrix rate used", "flop_utilisation", True),
    ("left out", "tainted", True),
)
OTHER = (
    ("first warm-up", "first_pass"), ("between two tokens", "token_latency"), ("first token after", "ttft"),
    ("a request", "latency"),
)  # fmt: skip
CAPTION = (
    "Each dot is the median of the repeats after a warm-up of that size, the bar their least and greatest. The dashed "
    "line is {}: what had to be compiled then is in it. The dotted line is what the measured memory bandwidth "
    "and matrix rate allow at most."
)
# Figure of an unwarmed pass: what it is in the legend, and in the caption.
NAIVE = {
    "tutorial": (
        "the tutorial's loop: first pass, no warm-up",
        "what the tutorial's loop measured, once and first of all, with one prompt for all; its answers may end early",
    ),
    "first_pass": ("first pass of each size, no warm-up", "the first pass of each size"),
}


def sizes(shown: Shown) -> list[int]:
    """The batch sizes that the record has a throughput of, in order."""
    return sorted({int(found[1]) for found in shown.named(SIZED)})[:MOST]


def section(shown: Shown) -> Section | None:
    """The table and the plot; None for a run without batch sizes."""
    found = sizes(shown)
    if not found:
        return None
    blocks: list[Block] = []
    measured = [one for size in found if (one := point(size, shown.figure(f"throughput_b{size}")))]
    unwarmed = next((name for name in NAIVE if shown.figure(f"{name}_b{found[0]}")), "tutorial")
    naive = [one for size in found if (one := point(size, shown.figure(f"{unwarmed}_b{size}")))]
    limit = [one for size in found if (one := point(size, shown.figure(f"limit_b{size}")))]
    if drawn := throughput(measured, naive, limit, NAIVE[unwarmed][0]):
        blocks.append(Plot("batches", drawn, "Throughput over the batch size", CAPTION.format(NAIVE[unwarmed][1])))
    columns = [one for one in COLUMNS if one[1] not in NAIVE or one[1] == unwarmed]
    head = ("batch", *(label for label, _, _ in columns))
    blocks.append(table(head, [_row(shown, size, columns) for size in found], numeric=range(len(head))))
    waits = [[cell(number(size)), *(shown.cell(f"{name}_b{size}") for _, name in OTHER)] for size in found]
    waited = table(("batch", *(label for label, _ in OTHER)), waits, numeric=range(len(OTHER) + 1))
    blocks.append(Fold("Latencies by batch size", (waited,)))
    return Section("batches", "Throughput by batch size", tuple(blocks))


def _row(shown: Shown, size: int, columns: Sequence[tuple[str, str, bool]]) -> list[Cell]:
    return [
        cell(number(size)),
        *(shown.cell(f"{name}_b{size}", note=note) for _, name, note in columns),
    ]
