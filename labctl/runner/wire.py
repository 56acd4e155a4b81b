"""A small HTTP client for the server on this host: standard library, no proxies, the key in the header.

The key goes with paths below GUARDED alone; an answer has 64 MiB at most, a line of a stream 1 MiB.
"""

from __future__ import annotations

import http.client
import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from labctl.runner.serving import Endpoint

OK = 200
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, never bound here
# Longer than any answer of a server that lives; a request may wait in the queue for long.
_PATIENCE = 600.0
# What vLLM guards by its key (vllm/entrypoints/serve/middleware/authenticate.py, 0.32.0). Nothing else is told it:
# /health is asked before it is known whose server answers there.
GUARDED = ("/v1", "/v2", "/inference", "/cohere")
# Of one answer, and of one line of a stream; whoever answers is not trusted with this machine's memory.
_MOST = 64 * 1024**2
_LONGEST = 1024**2


class WireError(RuntimeError):
    """The server answered with another status than 200 where lines were to come: ``status`` and its ``text``."""

    def __init__(self, status: int, text: str) -> None:
        """``status``: HTTP's number; ``text``: the body."""
        super().__init__(f"HTTP {status}: {text[:500]}")
        self.status, self.text = status, text


class _Response(http.client.HTTPResponse):
    """An answer whose pieces have a size that can be."""

    def _safe_read(self, amt: int) -> bytes:
        # A chunk of -1 bytes would be read to the end of the connection, however far that is.
        if not 0 <= amt <= _MOST:
            raise http.client.HTTPException(f"a chunk of {amt} bytes")
        read: bytes = super()._safe_read(amt)  # type: ignore[misc]
        return read


class Answer(NamedTuple):
    """``status`` (HTTP), ``headers``, ``body`` as received, ``seconds`` from sending to the last byte."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return json.loads(self.body)


def host(endpoint: Endpoint) -> str:
    """The address at which the server is reached from its own host."""
    return _EVERYWHERE.get(endpoint.address, endpoint.address)


def url(endpoint: Endpoint, path: str = "") -> str:
    """``http://ADDRESS:PORT`` and ``path``."""
    name = host(endpoint)
    return f"http://{f'[{name}]' if ':' in name else name}:{endpoint.port}{path}"


def get(endpoint: Endpoint, path: str, timeout: float = 10.0) -> Answer:
    """GET. Any status is an answer. Raises OSError or http.client.HTTPException where none came (within seconds)."""
    return _ask(endpoint, "GET", path, None, timeout, None)


def post_json(
    endpoint: Endpoint, path: str, body: object, timeout: float = _PATIENCE, sock: socket.socket | None = None
) -> Answer:
    """POST ``body`` as JSON; as get(). ``sock``: a connection to the server that is there already."""
    return _ask(endpoint, "POST", path, body, timeout, sock)


def stream(
    endpoint: Endpoint, path: str, body: object, timeout: float = _PATIENCE, sock: socket.socket | None = None
) -> Iterator[tuple[float, str]]:
    """POST ``body`` and give (seconds since it was sent, line) of each line of the answer as it arrives.

    Raises WireError for another status than 200, OSError or http.client.HTTPException for a line that broke; closing
    the iterator closes the connection. ``timeout``: seconds between two pieces.
    """
    with closing(_connection(endpoint, timeout, sock)) as connection:
        began = time.monotonic()
        answer = _send(connection, endpoint, "POST", path, body)
        if answer.status != OK:
            raise WireError(answer.status, _whole(answer).decode("utf-8", errors="replace"))
        while line := answer.readline(_LONGEST + 1):
            if len(line) > _LONGEST:
                raise http.client.HTTPException(f"a line of more than {_LONGEST} bytes")
            yield time.monotonic() - began, line.decode("utf-8", errors="replace").rstrip("\r\n")


def data(line: str) -> dict[str, Any] | None:
    """What one line of a stream of server-sent events carries; None for an empty line, a comment and [DONE]."""
    name, _, value = line.partition(":")
    if name != "data" or not value.strip() or value.strip() == "[DONE]":
        return None
    found = json.loads(value)
    return found if isinstance(found, dict) else None


def _ask(  # noqa: PLR0913, PLR0917 - what one request is made of
    endpoint: Endpoint, method: str, path: str, body: object, timeout: float, sock: socket.socket | None
) -> Answer:
    with closing(_connection(endpoint, timeout, sock)) as connection:
        began = time.monotonic()
        answer = _send(connection, endpoint, method, path, body)
        held = _whole(answer)
        return Answer(answer.status, dict(answer.getheaders()), held, time.monotonic() - began)


def _whole(answer: http.client.HTTPResponse) -> bytes:
    """The body. Raises http.client.HTTPException for one that is too long, or that ends before it should."""
    held = answer.read(_MOST + 1)
    if len(held) > _MOST or (answer.length or 0) > _MOST:
        raise http.client.HTTPException(f"an answer of more than {_MOST} bytes")
    if answer.length:  # read(N) takes an early end for the end; read() does not
        raise http.client.IncompleteRead(held, answer.length)
    return held


def _connection(endpoint: Endpoint, timeout: float, sock: socket.socket | None) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(host(endpoint), endpoint.port, timeout=timeout)
    connection.response_class = _Response
    if sock is not None:
        sock.settimeout(timeout)
        connection.sock = sock
    return connection


def _send(
    connection: http.client.HTTPConnection, endpoint: Endpoint, method: str, path: str, body: object
) -> http.client.HTTPResponse:
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key and path.startswith(GUARDED) else {}
    sent = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        sent = json.dumps(body, ensure_ascii=False).encode()
    connection.request(method, path, body=sent, headers=headers)
    return connection.getresponse()
