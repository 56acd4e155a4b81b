"""What a page shows of some kinds of run alone: one module a subject, each only where it has something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.report.sections import arrivals, batches, calls, limits, nodes, parameters, serve_bench, server

if TYPE_CHECKING:
    from labctl.report.blocks import Section
    from labctl.report.shown import Shown


MAKERS = (
    nodes.section, batches.section, serve_bench.section, arrivals.section, parameters.section, calls.section,
    server.section, limits.section,
)  # fmt: skip


def sections(shown: Shown) -> list[Section]:
    """The sections that this run has something for, in the order of the page."""
    made = (make(shown) for make in MAKERS)
    return [section for section in made if section is not None]
