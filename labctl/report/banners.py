"""The loud words at the top of the page: what a reader must know before any figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labctl.report.amounts import finite
from labctl.report.text import clean, line
from labctl.runner.figures.gpu import HARMLESS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labctl.report.load import Run
    from labctl.runner.record import RunRecord

ENDED = {
    "stopped": ("Stopped", ("The run was stopped before it was through. What it had recorded is below.",)),
    "lost": (
        "Lost",
        ("Its supervisor ended without a word (a kill, a reboot). What was recorded is below.",),
    ),
    "vanished": (
        "Lost",
        ("The host is silent, or has the run no more. What had arrived by then is below; it is not sealed.",),
    ),
    "running": ("Still running", ("The run had not ended when this page was made.",)),
    "unknown": ("No record", ("What happened is not recorded; only what was asked can be shown.",)),
}
SYNTHETIC = "Random weights of the true architecture: the text below is noise; the speed is that of the architecture."
LEFT_OUT = "This vLLM was installed without packages that it names, and does otherwise what they would do:"
HELD_BACK = (
    "Figures of this run may not be the best that the card can do. What held it back, in the share of the samples:"
)
CONVERTED = "This run was not recorded by labctl's runner, but assembled afterwards from files of another origin"
KEPT = "It was kept up until it was stopped, as it should be."
LOG_LINES = 30


@dataclass(frozen=True, slots=True)
class Banner:
    """A loud word at the top; ``kind`` is bad, warn or info."""

    kind: str
    title: str
    texts: tuple[str, ...] = ()
    log: str = ""
    log_of: str = "its log"


def banners(run: Run) -> list[Banner]:
    """Failure, an early end, synthetic weights, packages left out, clocks held back, a converted run: in this order."""
    record, found = run.record, []
    ended = "vanished" if (record.error or {}).get("kind") == "vanished" else record.status
    title, texts = ENDED.get(ended, ("The run failed", ()))
    if was_kept(run.kind, record):
        found.append(Banner("info", title, (KEPT,)))
    elif record.error is not None or record.status == "failed":
        found.append(_failure(record.error or {}, title, texts))
    elif ended in ENDED:
        found.append(Banner("bad", title, texts))
    model = record.model or {}
    if model.get("synthetic"):
        named = (("asked for", "requested"), ("used", "used"), ("weights", "weights"), ("why", "why"))
        found.append(Banner("warn", "Synthetic model", (SYNTHETIC, _named(model, named))))
    found += _left_out(record.nodes)
    found += _held_back(record.metrics)
    if origin := record.supervisor.get("converted"):
        found.append(Banner("info", "Converted run", (f"{CONVERTED}: {clean(origin, 800)}",)))
    return found


def was_kept(kind: str, record: RunRecord) -> bool:
    """Whether this is a kept server that ended as such a server does: it was up, and was stopped."""
    return kind == "hold" and record.status == "stopped" and (record.error or {}).get("phase") in {"up", "shutdown"}


def _left_out(nodes: Sequence[dict[str, Any]]) -> list[Banner]:
    """Packages of vLLM's own list that were left out when the host was provisioned: it does things otherwise then."""
    machines = [node.get("machine") for node in nodes]
    tables = [one.get("left_out") for one in machines if isinstance(one, dict)]
    names = sorted({line(name, 80) for table in tables if isinstance(table, dict) for name in table})[:LOG_LINES]
    return [Banner("info", "Packages were left out", (f"{LEFT_OUT} {', '.join(names)}.",))] if names else []


def _held_back(metrics: dict[str, dict[str, Any]]) -> list[Banner]:
    """That a GPU could not run as fast as it might; at its power limit a card is wherever it has enough to do."""
    told = metrics.get("gpu_throttled", {})
    if not finite(told.get("value")):
        return []
    reasons = {name for name in metrics if name.startswith("throttle_")} - {f"throttle_{name}" for name in HARMLESS}
    said = f"{HELD_BACK} {clean(told.get('note'), 300)}."
    if reasons == {"throttle_sw_power_cap"}:
        return [Banner("info", "A GPU ran at its power limit", (said,))]
    return [Banner("warn", "A GPU's clocks were held back", (said,))]


def _failure(error: dict[str, Any], title: str, texts: tuple[str, ...]) -> Banner:
    named = (("in phase", "phase"), ("kind", "kind"), ("exit status", "exit"))
    where = _named(error, named)
    message = clean(error.get("message"), 2000) or "The record gives no message."
    tail = error.get("log_tail")
    lines = tail if isinstance(tail, list) else [] if tail is None else [tail]
    log = "\n".join(clean(item, 600) for item in lines[-LOG_LINES:])
    whose = line(error.get("node"), 80)
    told = tuple(text for text in (*texts, message, where) if text)
    return Banner("bad", title, told, log, f"the log of {whose}" if whose else "its log")


def _named(data: dict[str, Any], names: Sequence[tuple[str, str]]) -> str:
    """Join what is known of some keys on one line."""
    return " · ".join(f"{word}: {line(data[key], 400)}" for word, key in names if data.get(key) is not None)
