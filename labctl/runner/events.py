"""events.jsonl: what the worker did and when, one JSON object a line; the raw file behind phases and figures."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from labctl.runner import clock, rundir
from labctl.runner.redact import MASK, secret_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


# What this program says itself; an environment variable that happens to hold the same word must not mask it.
_OWN = {"phase", "kind"}


def mask(value: Any, redact: Callable[[str], str]) -> Any:
    """The value with every text in it masked."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {
            key: MASK if isinstance(held, str) and secret_name(str(key)) else mask(held, redact)
            for key, held in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [mask(held, redact) for held in value]
    return value


class Events:
    """Appends events. Every line is flushed, so that a killed process takes none with it."""

    def __init__(self, run_dir: Path, zero: float, redact: Callable[[str], str] = str) -> None:
        """``zero``: the anchor's monotonic value (s); ``redact`` masks secrets in each line."""
        self._handle = (run_dir / rundir.EVENTS).open("a", encoding="utf-8")
        self._zero = zero
        self._redact = redact
        self.phase = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    def now(self) -> float:
        """Seconds since the anchor."""
        return clock.since(self._zero)

    def emit(self, event: str, **data: Any) -> None:
        """Append one event, stamped in seconds since the anchor. Raises OSError (a full disk)."""
        # Masked before it becomes JSON: a mask within JSON could break it, and escapes could hide a secret.
        told = {key: value if key in _OWN else mask(value, self._redact) for key, value in data.items()}
        row = {"t": clock.since(self._zero), "event": event, **told}
        self._handle.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
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
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), 1):
        row = checked(line)
        if row is not None:
            rows.append({**row, "line": number})
    return rows


def checked(line: str) -> dict[str, Any] | None:
    """The event of one line; None where it holds none."""
    row = lenient(line)
    return row if isinstance(row.get("t"), (int, float)) and isinstance(row.get("event"), str) else None


def lenient(line: str) -> dict[str, Any]:
    """The JSON object of one line; an empty one where there is none. Only a newline ends a line: texts hold U+2028."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def open_phase(rows: list[dict[str, Any]]) -> str | None:
    """The phase that began and never ended: where a dead run was."""
    current: list[str] = []
    for row in rows:
        if row["event"] == "begin":
            current.append(str(row.get("phase")))
        elif row["event"] == "end" and current:
            current.pop()
    return current[-1] if current else None


def last_phase(rows: list[dict[str, Any]]) -> str:
    """The phase that began last, whether or not it ended, a shutdown apart; ``start`` where none did."""
    began = [str(row.get("phase")) for row in rows if row["event"] == "begin"]
    return next((phase for phase in reversed(began) if phase != "shutdown"), "start")
