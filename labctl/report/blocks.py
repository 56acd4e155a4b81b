"""What a section of the page is made of: plain blocks, which the templates know how to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from labctl.report.text import DASH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labctl.report.cards import Source


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of a table; ``under`` is a smaller second line; ``source``: where it can be checked."""

    text: str = ""
    under: str = ""
    source: Source | None = None
    mono: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows below a head; ``numeric``: the places of the columns that hold numbers."""

    KIND: ClassVar[str] = "table"
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: frozenset[int] = frozenset()
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """One paragraph; ``tone``: "" (plain), "faint", or "info", "warn", "bad" in a box with a ``title``."""

    KIND: ClassVar[str] = "words"
    text: str
    tone: str = ""
    title: str = ""
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Text as it was, in a fixed font, below a title."""

    KIND: ClassVar[str] = "listing"
    title: str
    text: str
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing of this program (see svg.draw): ``name`` is that of its file, ``label`` what it shows in words."""

    KIND: ClassVar[str] = "plot"
    name: str
    drawn: str
    label: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks that lie folded below a summary; ``unfolded``: shown at once."""

    KIND: ClassVar[str] = "fold"
    summary: str
    blocks: tuple[Block, ...]
    unfolded: bool = False


Block = Table | Words | Listing | Plot | Fold


@dataclass(frozen=True, slots=True)
class Section:
    """A headed part of the page; ``anchor`` is its id."""

    anchor: str
    title: str
    blocks: tuple[Block, ...] = field(default=())

    def plots(self) -> list[Plot]:
        """Its drawings, folded ones too."""
        return list(_plots(self.blocks))


def _plots(blocks: Sequence[Block]) -> list[Plot]:
    found: list[Plot] = []
    for block in blocks:
        if isinstance(block, Plot):
            found.append(block)
        elif isinstance(block, Fold):
            found += _plots(block.blocks)
    return found


def cell(text: str | None, under: str = "", source: Source | None = None, *, mono: bool = False) -> Cell:
    """Make a field; a dash stands for None and for an empty text."""
    known = bool(text) and text != DASH
    return Cell(text or DASH, under if known else "", source if known else None, mono)


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]], numeric: Sequence[int] = (), caption: str = "") -> Table:
    """Make a table without the columns that hold a dash in every row."""
    kept = [place for place in range(len(head)) if any(row[place].text != DASH for row in rows)]
    places = frozenset(new for new, old in enumerate(kept) if old in numeric)
    shown = tuple(tuple(row[place] for place in kept) for row in rows)
    return Table(tuple(head[place] for place in kept), shown, places, caption)
