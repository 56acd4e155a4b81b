"""The hosts of one engine that spans several: who was part of it, how each part ended, and who brought it down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.report.amounts import finite
from labctl.report.blocks import Listing, Section, Words, cell, table
from labctl.report.text import clean, line
from labctl.runner.rundir import NODE

if TYPE_CHECKING:
    from labctl.report.blocks import Block, Cell
    from labctl.report.cards import Source
    from labctl.report.raw import Row
    from labctl.report.shown import Shown

MOST = 32  # hosts
LINES = 30
HEAD = ("rank", "host", "address", "part ended", "run there", "message")


def section(shown: Shown) -> Section | None:
    """One row a host, and the last lines of those that failed; None for an engine on one host."""
    nodes = shown.run.record.nodes[:MOST]
    span = shown.run.spec.span if shown.run.spec else None
    if span is None and len(nodes) < 2:  # noqa: PLR2004 - one host is no span
        return None
    error = shown.run.record.error or {}
    guilty = line(error.get("node"), 80)
    blocks: list[Block] = [table(HEAD, [_row(shown, node, place) for place, node in enumerate(nodes)], numeric=(0,))]
    if guilty:
        blocks.insert(0, Words(f"The engine ended because of {guilty}; its last lines stand above.", "bad"))
    for node in nodes:
        name = _name(node)
        if (log := _log(node)) and name != guilty and node.get("status") == "failed":
            blocks.append(Listing(f"The last lines of {name}", log, _place(shown, node)))
    return Section("nodes", "Hosts of this engine", tuple(blocks))


def _row(shown: Shown, node: Row, place: int) -> list[Cell]:
    span = shown.run.spec.span if shown.run.spec else None
    rank = finite(node.get("rank"))
    rank = float(place) if rank is None else rank
    addresses = span.addresses if span else ()
    known = span is not None and 0 <= rank < len(addresses)
    address = addresses[int(rank)] if known else ""
    own = span.runs[int(rank)] if span and known else ""
    return [
        cell(f"{rank:.0f}", source=_place(shown, node)),
        cell(_name(node)),
        cell(line(address, 60), mono=True),
        cell(line(node.get("status"), 20) or (shown.run.record.status if place == 0 else "")),
        cell(line(node.get("run") or own, 120)),
        cell(clean(node.get("message"), 600)),
    ]


def _name(node: Row) -> str:
    return line(node.get("host") or node.get("name"), 80) or "unnamed"


def _place(shown: Shown, node: Row) -> Source | None:
    rank = finite(node.get("rank"))
    file = NODE.format(rank=f"{rank:.0f}") if rank else ""
    return shown.source(file) if file in shown.anchors else None


def _log(node: Row) -> str:
    tail = node.get("log_tail")
    return "\n".join(clean(item, 600) for item in tail[-LINES:]) if isinstance(tail, list) else ""
