"""The tutorial's parameters: meaning, default here, value resolved here, what the tutorial says of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.report.blocks import Section, Words, cell, table
from labctl.report.environment import value
from labctl.report.raw import objects
from labctl.report.text import DASH, clean, line

if TYPE_CHECKING:
    from labctl.report.blocks import Cell
    from labctl.report.raw import Row
    from labctl.report.shown import Shown

FILE = "parameters.json"
MOST = 100  # rows
HEAD = ("parameter", "meaning", "\u542b\u4e49", "default here", "resolved", "the tutorial says", "note")
READ = "Read from the vLLM that is installed on the host, not from a manual"
TWO = "Where two values stand under resolved, LLM(...) comes to the first and vllm serve to the second."


def section(shown: Shown) -> Section | None:
    """The table; None for a run without parameters.json."""
    told = shown.run.raw.object(FILE, needed=shown.run.kind == "parameters")
    rows = objects(told.get("rows"))[:MOST]
    if not rows:
        return None
    version = line(told.get("vllm"), 40)
    words = f"{READ}{f' (vLLM {version})' if version else ''}. {_sources(rows)}{TWO}"
    return Section("parameters", "Parameters", (Words(words, "faint"), table(HEAD, [_row(shown, row) for row in rows])))


def _sources(rows: list[Row]) -> str:
    """Where defaults and resolved values come from, as the rows say; each once."""
    said = ""
    for key, word in (("default_source", "Defaults"), ("resolved_by", "Resolved values")):
        named = list(dict.fromkeys(line(row.get(key), 200) for row in rows if row.get(key)))[:3]
        said += f"{word}: {'; '.join(named)}. " if named else ""
    return said


def _row(shown: Shown, row: Row) -> list[Cell]:
    meaning: Any = row.get("meaning")
    meaning = meaning if isinstance(meaning, dict) else {"en": meaning}
    place = shown.source(FILE)
    return [
        cell(line(row.get("flag") or row.get("name"), 60), mono=True),
        cell(clean(meaning.get("en"), 400)),
        cell(clean(meaning.get("zh"), 400), clean(row.get("note_zh"), 400)),
        cell(shown_value(row, "default"), source=place, mono=True),
        cell(resolved(row), source=place, mono=True),
        cell(shown_value(row, "tutorial"), "differs" if row.get("differs") is True else "", mono=True),
        cell(note(row)),
    ]


def shown_value(row: Row, key: str) -> str:
    """A value as in a configuration file; a dash where the row has none."""
    held = row.get(key)
    if held is None and key == "default" and row.get("default_source"):
        return "not set"
    return DASH if held is None else value(held)


def resolved(row: Row) -> str:
    """What it came to: one value, or two where ``LLM(...)`` and ``vllm serve`` differ."""
    values = list(dict.fromkeys(shown_value(row, key) for key in ("resolved", "resolved_serve") if key in row))
    return " / ".join(values) or DASH


def note(row: Row, language: str = "en") -> str:
    """What must be said of a row: since when it is gone, and its note."""
    removed, said = row.get("removed_in"), row.get("note")
    said = said.get(language) if isinstance(said, dict) else said
    gone = f"removed in vLLM {line(removed, 40)}" if removed else ""
    return " \u00b7 ".join(part for part in (gone, clean(said, 600)) if part)
