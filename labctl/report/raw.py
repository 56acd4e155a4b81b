"""Raw files of a run directory, read once and defensively: what cannot be read is left out and said so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import re
    from pathlib import Path

CAP = 32 * 2**20  # bytes read of one file
ROWS = 200_000  # rows read of one file
FILES = 200  # read of one folder

Row = dict[str, Any]


class Raw:
    """The files below ``run_dir``; ``notes`` collects in plain sentences what was missing or unreadable."""

    def __init__(self, run_dir: Path, notes: list[str]) -> None:
        """Read below ``run_dir``; sentences go to the end of ``notes``."""
        self.run_dir = run_dir
        self.notes = notes

    def data(self, name: str, *, needed: bool = False, cap: int = CAP) -> bytes | None:
        """At most ``cap`` bytes of a file; None where it is no plain file of the run (links are not followed)."""
        path = self.run_dir / name
        try:
            if path.resolve() != self.run_dir.resolve() / name or not path.is_file():
                self._note(f"{name} is not in the run directory.", when=needed or path.is_symlink())
                return None
            with path.open("rb") as handle:
                found = handle.read(cap + 1)
        except OSError as error:
            self._note(f"{name} could not be read: {error.strerror}.")
            return None
        self._note(f"{name} is larger than {cap / 2**20:g} MiB: only its beginning was read.", when=len(found) > cap)
        return found[:cap]

    def text(self, name: str, *, needed: bool = False, cap: int = CAP) -> str | None:
        """The text of a file (UTF-8; what is none is replaced); None where it is no plain file of the run."""
        found = self.data(name, needed=needed, cap=cap)
        return None if found is None else found.decode("utf-8", "replace")

    def rows(self, name: str, *, needed: bool = False) -> list[Row]:
        """The JSON objects of a file of lines, each with its 1-based ``line``; broken lines are counted in a note."""
        found, broken = [], 0
        for number, raw in enumerate((self.text(name, needed=needed) or "").split("\n")[:ROWS], 1):
            row = _parsed(raw) if raw.strip() else None
            if isinstance(row, dict):
                found.append({**row, "line": number})
            elif raw.strip():
                broken += 1
        self._note(f"{name} has {broken:,} lines that could not be read.", when=broken > 0)
        return found

    def object(self, name: str, *, needed: bool = False) -> Row:
        """The JSON object that a file holds; empty, with a note, where it holds none."""
        text = self.text(name, needed=needed)
        found = None if text is None else _parsed(text)
        self._note(f"{name} holds no JSON object.", when=text is not None and not isinstance(found, dict))
        return found if isinstance(found, dict) else {}

    def names(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        """Sorted paths of the files in a folder of the run whose names match wholly; at most FILES."""
        place = self.run_dir / folder
        try:
            if place.resolve() != self.run_dir.resolve() / folder or not place.is_dir():
                return []
            found = sorted(path.name for path in place.iterdir() if pattern.fullmatch(path.name))
        except OSError as error:
            self._note(f"{folder} could not be read: {error.strerror}.")
            return []
        self._note(f"{folder} has {len(found):,} files: {FILES} of them were read.", when=len(found) > FILES)
        return [f"{folder}/{name}" for name in found[:FILES]]

    def _note(self, text: str, *, when: bool = True) -> None:
        if when and text not in self.notes:
            self.notes.append(text)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def objects(value: object) -> list[Row]:
    """The objects of a list; nothing for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
