"""HTTP messages as they went over the wire, made readable: chunks joined, JSON indented. For showing alone."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from labctl.report.text import clean

CAP = 2**20  # bytes read of one message
HEAD, BODY = 4000, 12_000  # characters shown
EVENTS = 6  # shown of a stream at its beginning, and at its end
_CHUNK = re.compile(rb"\s*([0-9a-fA-F]{1,8})[^\r\n]{0,200}\r?\n")


@dataclass(frozen=True, slots=True)
class Message:
    """Head (start line and headers) and body of a message, both fit for a page."""

    head: str
    body: str
    asked: str = ""  # of a request to an API: the prompt, or the last message

    @property
    def text(self) -> str:
        """The whole message."""
        return f"{self.head}\n\n{self.body}" if self.body else self.head


def message(raw: bytes) -> Message:
    """Read one request or response, whatever its bytes are."""
    gap = b"\r\n\r\n" if b"\r\n\r\n" in raw else b"\n\n"
    head, _, body = raw.partition(gap)
    words = head.decode("utf-8", "replace")
    if re.search(r"(?im)^transfer-encoding:\s*chunked", words):
        body = dechunked(body)
    text = body.decode("utf-8", "replace")
    if re.search(r"(?im)^content-type:\s*text/event-stream", words):
        return Message(clean(words, HEAD), clean(_stream(text), BODY))
    data = _value(text)
    return Message(clean(words, HEAD), clean(_indented(text, data), BODY), clean(_asked(data)))


def dechunked(body: bytes) -> bytes:
    """The body behind HTTP's chunks; from the first one that makes no sense on, the bytes as they are."""
    parts: list[bytes] = []
    at = 0
    while found := _CHUNK.match(body, at):
        size = int(found[1], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(body[found.end() : found.end() + size])
        at = found.end() + size
    return b"".join([*parts, body[at:]])


def _stream(text: str) -> str:
    """Shorten a stream of events: its beginning and its end."""
    events = [part for part in re.split(r"\r?\n\r?\n", text) if part.strip()]
    left_out = len(events) - 2 * EVENTS
    if left_out <= 0:
        return "\n\n".join(events)
    middle = f"… {left_out:,} more events: all of them are in the raw file …"
    return "\n\n".join([*events[:EVENTS], middle, *events[-EVENTS:]])


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _indented(text: str, data: object) -> str:
    """JSON indented; anything else as it is."""
    try:
        return text if data is None else json.dumps(data, indent=2, ensure_ascii=False)
    except RecursionError:
        return text


def _asked(data: object) -> object:
    """What a body asks: ``prompt`` of a completion, ``content`` of the last message of a chat."""
    if not isinstance(data, dict):
        return ""
    messages = data.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    return last.get("content") if isinstance(last, dict) else data.get("prompt", "")
