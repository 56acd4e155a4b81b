"""events.jsonl: what the worker did and when, one JSON object a line; the raw file behind phases and figures."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from labctl.runner import clock, rundir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Events:
    """Appends events. Every line is flushed, so that a killed process takes none with it."""

    def __init__(self, run_dir: Path, zero: float, redact: Callable[[str], str] = str) -> None:
        """``zero``: the anchor's monotonic value (s); ``redact`` masks secrets in each line."""
        self._handle = (run_dir / rundir.EVENTS).open("a", encoding="utf-8")
        self._zero = zero
        self._redact = redact
        self.phase = ""

    def emit(self, event: str, **data: Any) -> None:
        """Append one event, stamped in seconds since the anchor. Raises OSError (a full disk)."""
        line = json.dumps({"t": clock.since(self._zero), "event": event, **data}, ensure_ascii=False, default=str)
        self._handle.write(self._redact(line) + "\n")
        self._handle.flush()

    @contextmanager
    def during(self, phase: str, **data: Any) -> Iterator[dict[str, Any]]:
        """Emit begin and end around a block; what the block puts into the yielded dict goes with the end."""
        outer, self.phase = self.phase, phase
        self.emit("begin", phase=phase, **data)
        result: dict[str, Any] = {}
        yield result
        self.emit("end", phase=phase, **data, **result)
        # Not in a finally: after an exception the failing phase is what the error event must name.
        self.phase = outer


def read(run_dir: Path) -> list[dict[str, Any]]:
    """The events as dicts, each with its 1-based ``line``; a torn or foreign line is left out."""
    path = run_dir / rundir.EVENTS
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("t"), (int, float)) and isinstance(row.get("event"), str):
            rows.append({**row, "line": number})
    return rows


def open_phase(rows: list[dict[str, Any]]) -> str | None:
    """The phase that began and never ended: where a dead run was."""
    current: list[str] = []
    for row in rows:
        if row["event"] == "begin":
            current.append(str(row.get("phase")))
        elif row["event"] == "end" and current:
            current.pop()
    return current[-1] if current else None
