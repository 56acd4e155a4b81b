"""What a section is made from: a run, where its files stand on the page, and which figures were shown already."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labctl.report import cards
from labctl.report.amounts import finite
from labctl.report.blocks import Cell, cell
from labctl.report.text import DASH

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Mapping

    from labctl.report.load import Run


@dataclass(slots=True)
class Shown:
    """``anchors``: file -> id of its row; ``taken``: names of the figures that a section shows."""

    run: Run
    anchors: Mapping[str, str]
    taken: set[str] = field(default_factory=set)

    def source(self, place: object) -> cards.Source:
        """Where something can be checked: ``events.jsonl:12``, linked where the file has a row on the page."""
        return cards.source(place, self.anchors)

    def figure(self, name: str) -> dict[str, Any]:
        """A figure of the record, which is no longer among the other ones then; empty where there is none."""
        found = self.run.record.metrics.get(name)
        if found is not None:
            self.taken.add(name)
        return found or {}

    def amount(self, name: str) -> float | None:
        """The value of a figure as a finite number, else None."""
        return finite(self.figure(name).get("value"))

    def cell(self, name: str, *, note: bool = False) -> Cell:
        """A figure as a field of a table: value and unit, below them its spread, and its note if asked for."""
        metric = self.figure(name)
        if not metric:
            return cell(None)
        one = cards.figure(name, metric, self.anchors)
        under = " · ".join(part for part in (one.spread, one.note if note else "") if part)
        if not one.known:
            return Cell(DASH, under)
        return cell(f"{one.value} {one.unit}".strip(), under, one.sources[0] if one.sources else None)

    def named(self, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
        """The names of figures that match a pattern wholly, in the order of the record."""
        for name in self.run.record.metrics:
            if found := pattern.fullmatch(name):
                yield found
