"""The calls to a server: what each took, what was asked and answered, and both as they went over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.report import wire
from labctl.report.amounts import finite, number, seconds
from labctl.report.blocks import Fold, Listing, Section, Words, cell, table
from labctl.report.text import clean, line
from labctl.runner.rundir import EVENTS

if TYPE_CHECKING:
    from labctl.report.blocks import Block, Cell, Table
    from labctl.report.raw import Row
    from labctl.report.shown import Shown

CALLS = "api/calls.jsonl"
SHOWN = 60  # calls in full
UNFOLDED = 8
LONGEST = 200  # characters of a file's name
TABLED = 500
REFUSED = 400
OF_A_CALL = ("status", "latency", "ttft", "output_tokens")  # the row's own numbers, as figures
HEAD = ("call", "asked by", "kind", "status", "took", "first token", "prompt tokens", "output tokens", "answer")
FEW_WORDS = 120
NO_TEMPLATE = (
    "A base model such as this one has no chat template, and without one vLLM refuses to chat: the tutorial's request "
    "ends like this. The remedy is a template: for a server of your own --chat-template FILE; a model tuned for chat "
    "brings one along."
)


def section(shown: Shown) -> Section | None:
    """The calls of api/calls.jsonl; None for a run without any."""
    raw = shown.run.raw
    rows = raw.rows(CALLS, needed=shown.run.kind == "requests")
    if not rows:
        return None
    blocks: list[Block] = [_table(shown, rows)]
    turned_away = next((row for row in rows if refused(row)), None)
    blocks += _refused(shown, turned_away) if turned_away else []
    blocks += [_call(shown, row, unfolded=place < UNFOLDED) for place, row in enumerate(rows[:SHOWN])]
    if len(rows) > SHOWN:
        blocks.append(Words(f"{len(rows) - SHOWN:,} more calls are in {CALLS}.", "faint"))
    return Section("calls", "Calls", tuple(blocks))


def refused(row: Row) -> bool:
    """Whether a call was turned away for want of a chat template (vllm/entrypoints/chat_utils.py, 0.32.0)."""
    return row.get("status") == REFUSED and "chat template" in line(row.get("error"), 4000).lower()


def name_of(row: Row) -> str:
    """What a call is called: its number and its name."""
    return line(f"{_plain(row.get('call'))} {_plain(row.get('name'))}".strip() or "call", 60)


def kind_of(row: Row) -> str:
    """``chat, streamed``."""
    return line(row.get("api"), 30) + (", streamed" if row.get("stream") is True else "")


def answer_of(row: Row) -> str:
    """The text that came back, else the error."""
    return clean(row.get("text")) or clean(row.get("error"))


def _plain(value: object) -> str:
    return line(value, 60)


def _table(shown: Shown, rows: list[Row]) -> Table:
    return table(HEAD, [_row(shown, row) for row in rows[:TABLED]], numeric=(3, 4, 5, 6, 7))


def _row(shown: Shown, row: Row) -> list[Cell]:
    place = shown.source(f"{CALLS}:{row['line']}")
    for name in OF_A_CALL:
        shown.figure(f"{name}_call{_plain(row.get('call'))}")
    good = finite(row.get("status"))
    status = "—" if good is None else f"{good:.0f}"
    return [
        cell(name_of(row)),
        cell(line(row.get("by"), 30)),
        cell(kind_of(row)),
        cell(status, source=place),
        cell(seconds(row.get("seconds")), source=place),
        cell(seconds(row.get("ttft_s")), source=place),
        cell(number(row.get("prompt_tokens")), source=place),
        cell(number(row.get("output_tokens")), source=place),
        cell(line(answer_of(row), FEW_WORDS)),
    ]


def _refused(shown: Shown, row: Row) -> list[Block]:
    """Explain the refusal, and show the template that the same request was then sent with."""
    ours = next(
        (one for one in shown.run.events if one["event"] == "chat_template" and one.get("given") != "server"), None
    )
    name = line(ours.get("name"), 120) if ours else ""
    after = f" So the same request was sent again with {name}, and so were the chats after it." if ours else ""
    title = f"HTTP 400: no chat template (call {name_of(row)})"
    found: list[Block] = [Words(NO_TEMPLATE + after, "warn", title, shown.source(f"{CALLS}:{row['line']}"))]
    if ours:
        text = Listing(name, clean(ours.get("text"), 4000), shown.source(f"{EVENTS}:{ours['line']}"))
        found.append(Fold("The template that was used", (text,)))
    return found


def _template(row: Row) -> str:
    return line(row.get("chat_template"), 200)


def _call(shown: Shown, row: Row, *, unfolded: bool) -> Fold:
    sent, came = (_listed(shown, row, word) for word in ("Request", "Response"))
    blocks: list[Block] = []
    if sent and sent[0].asked:
        blocks.append(Listing("Asked", sent[0].asked))
    answer = answer_of(row)
    blocks.append(Listing("Answer" if row.get("text") else "Error", answer or "(empty)"))
    if template := _template(row):
        blocks.append(Words(f"Chat template: {template}", "faint"))
    over = tuple(one[1] for one in (sent, came) if one)
    if over:
        blocks.append(Fold("As it went over the wire", over))
    status = finite(row.get("status"))
    code = "no status" if status is None else f"HTTP {status:.0f}"
    return Fold(f"{name_of(row)}: {kind_of(row)}, {code}", tuple(blocks), unfolded)


def _listed(shown: Shown, row: Row, word: str) -> tuple[wire.Message, Listing] | None:
    """A message of a call with its raw file; None where there is no such file."""
    name = _file(row, word.lower())
    raw = shown.run.raw.data(name, cap=wire.CAP) if name else None
    if raw is None:
        return None
    read = wire.message(raw)
    return read, Listing(f"{word} over the wire", read.text, shown.source(name))


def _file(row: Row, suffix: str) -> str:
    """The file of a call by the stem in ``file`` (``api/01-completion``); "" for a path that leaves api/."""
    stem: Any = row.get("file")
    if not isinstance(stem, str) or not stem.isprintable() or len(stem) > LONGEST:
        return ""
    stem = stem.removeprefix("api/")
    return "" if not stem or "/" in stem or stem.startswith(".") else f"api/{stem}.{suffix}.http"
