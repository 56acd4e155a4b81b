"""The loud words at the top of the page: what a reader must know before any figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labctl.report.text import clean, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labctl.report.load import Run

ENDED = {
    "stopped": ("Stopped", ("The run was stopped before it was through. What it had recorded is below.",)),
    "lost": (
        "Lost",
        ("Its supervisor ended without a word (a kill, a reboot). What was recorded is below.",),
    ),
    "running": ("Still running", ("The run had not ended when this page was made.",)),
    "unknown": ("No record", ("What happened is not recorded; only what was asked can be shown.",)),
}
SYNTHETIC = "Random weights of the true architecture: the text below is noise; the speed is that of the architecture."
CONVERTED = "This run was not recorded by labctl's runner, but assembled afterwards from files of another origin"
LOG_LINES = 30


@dataclass(frozen=True, slots=True)
class Banner:
    """A loud word at the top; ``kind`` is bad, warn or info."""

    kind: str
    title: str
    texts: tuple[str, ...] = ()
    log: str = ""


def banners(run: Run) -> list[Banner]:
    """Failure, an end before its time, synthetic weights, a converted run: in this order."""
    record, found = run.record, []
    if record.error is not None or record.status == "failed":
        found.append(_failure(record.error or {}))
    if record.status in ENDED:
        found.append(Banner("bad", *ENDED[record.status]))
    model = record.model or {}
    if model.get("synthetic"):
        named = (("asked for", "requested"), ("used", "used"), ("weights", "weights"), ("why", "why"))
        found.append(Banner("warn", "Synthetic model", (SYNTHETIC, _named(model, named))))
    if origin := record.supervisor.get("converted"):
        found.append(Banner("info", "Converted run", (f"{CONVERTED}: {clean(origin, 800)}",)))
    return found


def _failure(error: dict[str, Any]) -> Banner:
    named = (("in phase", "phase"), ("kind", "kind"), ("exit status", "exit"))
    where = _named(error, named)
    message = clean(error.get("message"), 2000) or "The record gives no message."
    tail = error.get("log_tail")
    lines = tail if isinstance(tail, list) else [] if tail is None else [tail]
    log = "\n".join(clean(item, 600) for item in lines[-LOG_LINES:])
    return Banner("bad", "The run failed", tuple(text for text in (message, where) if text), log)


def _named(data: dict[str, Any], names: Sequence[tuple[str, str]]) -> str:
    """Join what is known of some keys on one line."""
    return " · ".join(f"{word}: {line(data[key], 400)}" for word, key in names if data.get(key) is not None)
