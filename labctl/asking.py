"""One question to a server, over HTTP, its answer piece by piece as the server sends it.

By the standard library: the openai client takes 1.3 to 1.5 s to import here and http.client 0.03 to 0.08 s, which is
more than the first token takes; its answers are checked against that client's in the tests.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.errors import ServerError
from labctl.runner import wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labctl.runner.serving import Endpoint

COMPLETION, CHAT = "/v1/completions", "/v1/chat/completions"
# HTTP's: the key was refused, and there is no such model.
DENIED = (401, 403)
NO_SUCH = 404
_DONE = "[DONE]"
# What an answer that was made for harm does to a parser.
_TOO_MUCH = (RecursionError, OverflowError, MemoryError)
_MOST_TOKENS = 10**9


class BrokeOffError(Exception):
    """The connection ended before the answer did; the message says how."""


class RefusedError(ServerError):
    """The server answered with an HTTP ``status`` other than 200."""

    def __init__(self, status: int, what: str) -> None:
        """``what``: one readable sentence."""
        super().__init__(what)
        self.status = status


class Piece(NamedTuple):
    """Part of an answer's text, ``seconds`` after the question was sent."""

    seconds: float
    text: str


@dataclass
class Question:
    """What is asked. ``max_tokens`` None: as many as the server lets; ``temperature`` None: the server's default.

    ``tokens``: how many came, once the answer is whole (None where the server did not say).
    """

    text: str
    chat: bool
    max_tokens: int | None = None
    temperature: float | None = None
    tokens: int | None = None

    @property
    def path(self) -> str:
        """Where it is sent to."""
        return CHAT if self.chat else COMPLETION

    def body(self, model: str, *, stream: bool) -> dict[str, Any]:
        """The request as OpenAI's API has it."""
        said: dict[str, Any] = {"messages": [{"role": "user", "content": self.text}]} if self.chat else {}
        said |= {} if self.chat else {"prompt": self.text}
        limits = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        said |= {name: value for name, value in limits.items() if value is not None}
        return {
            "model": model,
            **said,
            **({"stream": True, "stream_options": {"include_usage": True}} if stream else {}),
        }


def answer(endpoint: Endpoint, question: Question, *, stream: bool) -> Iterator[Piece]:
    """The answer's pieces; one where it is not streamed. Raises RefusedError, BrokeOffError, ServerError."""
    body = question.body(endpoint.model, stream=stream)
    try:
        if stream:
            yield from _streamed(endpoint, question, body)
        else:
            yield _whole(endpoint, question, body)
    except wire.WireError as error:
        raise RefusedError(error.status, _refusal(error, endpoint)) from error
    except (OSError, http.client.HTTPException, ValueError, *_TOO_MUCH) as error:
        raise BrokeOffError(str(error) or type(error).__name__) from error


def _whole(endpoint: Endpoint, question: Question, body: dict[str, Any]) -> Piece:
    got = wire.post_json(endpoint, question.path, body)
    if got.status != wire.OK:
        raise wire.WireError(got.status, got.text)
    return Piece(got.seconds, _take(question, got.json()))


def _streamed(endpoint: Endpoint, question: Question, body: dict[str, Any]) -> Iterator[Piece]:
    for seconds, line in wire.stream(endpoint, question.path, body):
        if line.removeprefix("data:").strip() == _DONE:
            return
        told = wire.data(line)
        if told is None:
            continue
        if "error" in told:
            raise ServerError(f"the server broke off: {_message(told)}")
        text = _take(question, told)
        if text:
            yield Piece(seconds, text)
    # http.client takes a connection that broke for the end of the answer.
    raise BrokeOffError("the server's last words were missing")


def _take(question: Question, told: object) -> str:
    """The text in an answer, or in part of one; notes how many tokens came. Raises ValueError for another shape."""
    try:
        data: Any = told
        if data.get("usage"):
            question.tokens = _count(data["usage"]["completion_tokens"])
        if not data["choices"]:
            return ""
        one = data["choices"][0]
        if not question.chat:
            return str(one["text"] or "")
        return str((one.get("delta") or one.get("message") or {}).get("content") or "")
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"an answer of another shape: {str(told)[:200]}") from error


def _count(told: object) -> int:
    """A number of tokens. Raises ValueError for what is none."""
    if type(told) is not int or not 0 <= told < _MOST_TOKENS:
        raise ValueError(f"an answer of {str(told)[:50]} tokens")
    return told


def _refusal(error: wire.WireError, endpoint: Endpoint) -> str:
    try:
        said = _message(json.loads(error.text))
    except (ValueError, *_TOO_MUCH):
        said = error.text[:300]
    if error.status in DENIED:
        return f"the server refused the API key (HTTP {error.status})"
    if error.status == NO_SUCH:
        return f"the server has no model {endpoint.model} (HTTP 404: {said})"
    return f"the server answered HTTP {error.status}: {said}"


def _message(told: object) -> str:
    """What an error object says: OpenAI's {"error": {"message"}}, or FastAPI's {"detail"}."""
    if isinstance(told, dict):
        inner = told.get("error", told)
        found = inner.get("message") or inner.get("detail") if isinstance(inner, dict) else inner
        return str(found or told)[:300]
    return str(told)[:300]
