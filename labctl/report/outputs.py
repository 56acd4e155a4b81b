"""The outputs of a run, pass by pass, each beside what its request took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from labctl.report.amounts import number, seconds
from labctl.report.text import clean, line, plain

PROMPT_LIMIT = 2000
REQUESTS = 300  # shown in all
TUTORIAL = "the tutorial's loop"


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt and what came back."""

    label: str
    prompt: str
    output: str | None
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Pass:
    """The requests of one pass; ``full`` marks the first measured one, which is shown open."""

    title: str
    full: bool
    requests: tuple[Request, ...]


def passes(outputs: list[dict[str, Any]], requests: list[dict[str, Any]]) -> list[Pass]:
    """Group the outputs by pass, in the order of the file."""
    took = {_key(row): row for row in requests}
    grouped: dict[tuple[str, str, bool], list[dict[str, Any]]] = {}
    for row in outputs[:REQUESTS]:
        grouped.setdefault((line(row.get("pass"), 20), _kind(row), bool(row.get("warmup"))), []).append(row)
    first = next((key for key in grouped if key[1].startswith(TUTORIAL)), None)
    first = first or next((key for key in grouped if not key[2]), None)
    return [_pass(key, rows, took, full=key == first) for key, rows in grouped.items()]


def left_out(outputs: list[dict[str, Any]]) -> int:
    """How many outputs the page does not show."""
    return max(0, len(outputs) - REQUESTS)


def _kind(row: dict[str, Any]) -> str:
    """What a pass was for, with its batch size where sizes are compared."""
    kind = "warm-up, not counted" if row.get("warmup") else "measured"
    if row.get("phase") == "tutorial":
        kind = TUTORIAL
    size = number(row.get("size"))
    return f"{kind}, batch size {size}" if size else kind


def _pass(
    key: tuple[str, str, bool], rows: list[dict[str, Any]], took: dict[Any, dict[str, Any]], *, full: bool
) -> Pass:
    title = f"Pass {key[0] or '?'} ({key[1]})"
    return Pass(title, full, tuple(_request(row, took.get(_key(row), {})) for row in rows))


def _request(row: dict[str, Any], took: dict[str, Any]) -> Request:
    facts = (
        ("prompt tokens", number(row.get("prompt_tokens"))),
        ("output tokens", number(row.get("output_tokens"))),
        ("finished by", line(row.get("finish_reason"), 40)),
        ("latency", seconds(took.get("latency_s"))),
        ("first token after", seconds(took.get("ttft_s"))),
        ("queued", seconds(took.get("queue_s"))),
        ("cached tokens", number(took.get("cached_tokens"))),
    )
    output = row.get("output")
    return Request(
        label=line(row.get("request"), 20),
        prompt=clean(row.get("prompt"), PROMPT_LIMIT),
        output=None if output is None else clean(output),
        facts=tuple((label, text) for label, text in facts if text),
    )


def _key(row: dict[str, Any]) -> tuple[str, str]:
    return plain(row.get("pass"))[:40], plain(row.get("request"))[:40]
