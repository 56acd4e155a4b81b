"""What a run came to in a few lines for the terminal, by its kind: plain lines and small tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.report.amounts import finite, number, seconds
from labctl.report.excerpts import cut, first_text
from labctl.report.lives import WAYS
from labctl.report.raw import objects
from labctl.report.sections import arrivals, batches, calls, parameters
from labctl.report.serve_points import loads
from labctl.report.shown import Shown
from labctl.report.text import line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labctl.report.load import Run
    from labctl.report.raw import Row

ANSWER = 26  # characters of an answer in a table
ROWS = 40
WIDTH = 78  # of a line


class Table(NamedTuple):
    """Rows by column, all texts."""

    columns: list[str]
    rows: list[dict[str, Any]]


def brief(run: Run) -> list[str | Table]:
    """The lines and tables of a run's kind; nothing where it has none of its own."""
    shown = Shown(run, {})
    made = {
        "prompts": _prompts, "batches": _batches, "requests": _requests, "hold": _server, "serve_bench": _serve_bench,
        "arrivals": _arrivals, "parameters": _parameters,
    }.get(run.kind)  # fmt: skip
    return [*_nodes(run), *(made(shown) if made else ())]


def _prompts(shown: Shown) -> Iterator[str | Table]:
    if text := first_text(shown.run):
        yield text


def _batches(shown: Shown) -> Iterator[str | Table]:
    rows = [
        {
            "batch": str(size),
            "tok/s": _value(shown, f"throughput_b{size}"),
            "least - greatest": _spread(shown, f"throughput_b{size}"),
            "bandwidth %": _value(shown, f"bandwidth_utilisation_b{size}"),
            "FLOP %": _value(shown, f"flop_utilisation_b{size}"),
            "tutorial": _value(shown, f"tutorial_b{size}"),
            "left out": _value(shown, f"tainted_b{size}"),
        }
        for size in batches.sizes(shown)[:ROWS]
    ]
    if rows:
        yield Table(list(rows[0]), rows)
    yield from _notes(shown, [f"throughput_b{size}" for size in batches.sizes(shown)[:ROWS]])


def _serve_bench(shown: Shown) -> Iterator[str | Table]:
    rows = [
        {
            "load": one.words,
            "tok/s": _value(shown, f"throughput_{one.suffix}"),
            "TTFT ms": _value(shown, f"ttft_{one.suffix}"),
            "p99": _value(shown, f"ttft_p99_{one.suffix}"),
            "TPOT ms": _value(shown, f"tpot_{one.suffix}"),
            "p99 ": _value(shown, f"tpot_p99_{one.suffix}"),
            "E2E ms": _value(shown, f"e2el_{one.suffix}"),
            "goodput/s": _value(shown, f"goodput_{one.suffix}"),
            "failed": _value(shown, f"failed_{one.suffix}"),
        }
        for one in loads(shown)[:ROWS]
    ]
    if rows:
        known = [name for name in rows[0] if any(row[name] for row in rows)]
        yield Table(known, rows)
    if finite(shown.figure("flagged_points").get("value")):
        yield f"flagged: {line(shown.figure('flagged_points').get('note'), 400)}"


def _arrivals(shown: Shown) -> Iterator[str | Table]:
    ways = [way for way in WAYS if shown.figure(f"makespan_{way}")]
    rows = [
        {
            "way": way,
            "all done": _seconds(shown, f"makespan_{way}"),
            "tok/s": _value(shown, f"throughput_{way}"),
            "mean latency": _seconds(shown, f"latency_{way}"),
            "first token": _seconds(shown, f"ttft_{way}"),
            "running": _value(shown, f"running_{way}"),
            "failed": _value(shown, f"failed_{way}"),
        }
        for way in ways
    ]
    if rows:
        yield Table(list(rows[0]), rows)
    yield from (line(said, WIDTH) for said in (*arrivals.in_words(shown), *arrivals.caveats(shown)))


def _requests(shown: Shown) -> Iterator[str | Table]:
    yield from _server(shown)
    rows = shown.run.raw.rows(calls.CALLS)
    if rows:
        made = [_call(row) for row in rows[:ROWS]]
        yield Table(list(made[0]), made)
    if any(calls.refused(row) for row in rows):
        ours = next(
            (row for row in shown.run.events if row["event"] == "chat_template" and row.get("given") != "server"), {}
        )
        again = f"; it was sent again with {line(ours.get('name'), 80)}" if ours else ""
        yield f"HTTP 400 is what the tutorial runs into: the model has no chat template{again}"


def _call(row: Row) -> dict[str, str]:
    status = finite(row.get("status"))
    return {
        "call": cut(calls.name_of(row), 24),
        "status": "none" if status is None else f"{status:.0f}",
        "took": seconds(row.get("seconds")) or "",
        "1st token": seconds(row.get("ttft_s")) or "",
        "tokens": number(row.get("output_tokens")) or "",
        "answer": cut(calls.answer_of(row), ANSWER),
    }


def _server(shown: Shown) -> Iterator[str | Table]:
    starts = [row for row in shown.run.events if row["event"] == "server"]
    if starts:
        last = starts[-1]
        port = finite(last.get("port"))
        where = f"{line(last.get('address'), 60)}:{f'{port:.0f}' if port is not None else '?'}"
        version = f", vLLM {line(last.get('version'), 40)}" if last.get("version") else ""
        yield f"server: healthy on {where}{version}, served as {cut(line(last.get('model'), 200), 60)}"
    again = [row for row in shown.run.events if row["event"] == "restart"]
    for row in again[-3:]:
        yield f"started anew ({number(row.get('number'))} of {number(row.get('of'))}): {line(row.get('reason'), 300)}"


def _parameters(shown: Shown) -> Iterator[str | Table]:
    told = shown.run.raw.object(parameters.FILE)
    rows = [
        {
            "parameter": line(row.get("flag") or row.get("name"), 40),
            "default": parameters.shown_value(row, "default"),
            "here": "removed" if row.get("removed_in") else cut(parameters.resolved(row), ANSWER),
            "tutorial": parameters.shown_value(row, "tutorial") if row.get("differs") else "",
        }
        for row in objects(told.get("rows"))[:ROWS]
    ]
    if rows:
        yield Table(list(rows[0]), rows)


def _nodes(run: Run) -> Iterator[str | Table]:
    if len(run.record.nodes) > 1:
        named = [line(node.get("host") or node.get("name"), 40) for node in run.record.nodes[:ROWS]]
        yield f"hosts: {', '.join(named)}"
    for node in run.record.nodes[:ROWS]:
        if node.get("status") == "failed":
            yield f"{line(node.get('host') or node.get('name'), 40)} failed: {line(node.get('message'), 300)}"


def _notes(shown: Shown, names: list[str]) -> Iterator[str]:
    for name in names:
        if note := line(shown.figure(name).get("note"), 300):
            yield f"{name.rpartition('_')[2]}: {note}"


def _value(shown: Shown, name: str) -> str:
    return number(shown.figure(name).get("value")) or ""


def _seconds(shown: Shown, name: str) -> str:
    return seconds(shown.figure(name).get("value")) or ""


def _spread(shown: Shown, name: str) -> str:
    low, high = (number(shown.figure(name).get(key)) for key in ("low", "high"))
    return f"{low} - {high}" if low and high else ""
