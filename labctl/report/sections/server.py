"""The server: where it listened, how it was started, how often anew, and what lay open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.report.amounts import finite, number, seconds
from labctl.report.blocks import Fold, Listing, Section, Words, cell, table
from labctl.report.raw import objects
from labctl.report.rerun import LOCAL
from labctl.report.text import clean, line
from labctl.runner.rundir import EVENTS

if TYPE_CHECKING:
    from labctl.report.blocks import Block
    from labctl.report.raw import Row
    from labctl.report.shown import Shown

STARTS = 200
ROUTES = 100
CLEAR = (
    "It listened beyond its own host. HTTP is clear text: whoever can read the line between reads the API key, the "
    "prompts and the answers."
)


def section(shown: Shown) -> Section | None:
    """The server's own facts, from its events; None for a run that started none."""
    starts = [row for row in shown.run.events if row["event"] == "server"][:STARTS]
    if not starts:
        return None
    last = starts[-1]
    address = line(last.get("address"), 60)
    blocks: list[Block] = [_starts(shown, starts)]
    if command := clean(last.get("command"), 2000):
        blocks.append(Listing("Started by", command, shown.source(f"{EVENTS}:{last['line']}")))
    given = next(
        (row for row in shown.run.events if row["event"] == "chat_template" and row.get("given") == "server"), {}
    )
    if text := clean(given.get("text"), 4000):
        place = shown.source(f"{EVENTS}:{given['line']}")
        blocks.append(
            Fold("The chat template that it was given", (Listing(line(given.get("name"), 200), text, place),))
        )
    blocks += _restarts(shown)
    if address and address not in LOCAL:
        blocks.append(Words(CLEAR, "warn", f"Exposed on {address}"))
    blocks += _open(shown)
    return Section("server", "Server", tuple(blocks))


def _starts(shown: Shown, starts: list[Row]) -> Block:
    head = ("healthy at", "address", "port", "served model", "vLLM", "chat template", "process", "kept by run")
    rows = [
        [
            cell(seconds(row.get("t")), source=shown.source(f"{EVENTS}:{row['line']}")),
            cell(line(row.get("address"), 60), mono=True),
            cell(_whole(row.get("port"))),
            cell(line(row.get("model"), 120)),
            cell(line(row.get("version"), 40)),
            cell(_template(row.get("chat_template"))),
            cell(_whole(row.get("pid"))),
            cell(line(row.get("run"), 120)),
        ]
        for row in starts
    ]
    return table(head, rows, numeric=(0, 2, 6))


def _whole(value: object) -> str | None:
    """A port or process number: no separators."""
    real = finite(value)
    return None if real is None else f"{real:.0f}"


def _template(value: object) -> str:
    said = line(value, 200)
    return {"model": "the model's own", "none": "none: chats are refused"}.get(said, said)


def _restarts(shown: Shown) -> list[Block]:
    """What the supervision of a kept server had to do."""
    rows = [row for row in shown.run.events if row["event"] == "restart"][:STARTS]
    spec = shown.run.spec
    allowed = spec.server.restarts if spec and spec.server else 0
    if not rows:
        kept = shown.run.kind == "hold"
        return [Words(f"It was never started anew (at most {allowed} times allowed).", "faint")] if kept else []
    head = ("at", "restart", "why")
    cells = [
        [
            cell(seconds(row.get("t")), source=shown.source(f"{EVENTS}:{row['line']}")),
            cell(f"{number(row.get('number')) or '?'} of {number(row.get('of')) or allowed}"),
            cell(clean(row.get("reason"), 600)),
        ]
        for row in rows
    ]
    return [table(head, cells, numeric=(0,), caption="Started anew after it had died")]


def _open(shown: Shown) -> list[Block]:
    """Which routes answered without the key, as they were asked on the host."""
    row = next((row for row in reversed(shown.run.events) if row["event"] == "open_routes"), None)
    if row is None:
        return []
    place = shown.source(f"{EVENTS}:{row['line']}")
    routes = objects(row.get("open"))[:ROUTES]
    said = f"{number(row.get('tested')) or '?'} routes were asked without the key"
    if wrong := line(row.get("error"), 300):
        said += f" (not all: {wrong})"
    if not routes:
        return [Words(f"{said}; none answered.", source=place)]
    rows = [
        [cell(line(one.get("path"), 120), source=place, mono=True), cell(_whole(one.get("status")))] for one in routes
    ]
    lead = Words(f"{said}; these answered (405: it wants another method, and is open all the same):")
    return [lead, table(("open without the key", "status"), rows, numeric=(1,))]
