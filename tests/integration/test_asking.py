"""Questions over HTTP, and routes without a key: to the stand-in for ``vllm serve``, as a process on this machine."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from labctl.asking import BrokeOffError, Piece, Question, RefusedError, answer
from labctl.commands import ask
from labctl.errors import ServerError
from labctl.runner import open_routes
from labctl.runner.serving import Endpoint, healthy
from tests.e2e.conftest import until
from tests.hosts import light_lab
from tests.integration.test_relay import server as tcp_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODEL = "facebook/opt-125m"
KEY = "a-key-of-this-test-alone"


@contextmanager
def stand_in(folder: Path, *words: str, key: str = "") -> Iterator[Endpoint]:
    """A process that serves as vLLM does."""
    for name, data in light_lab.site().items():
        path = folder / name.removeprefix(light_lab.SITE).lstrip("/")
        if path.parts[len(folder.parts)] == "vllm":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    command = [sys.executable, "-u", "-m", "vllm.entrypoints.cli.main", "serve", MODEL, "--port=0", *words]
    env = {**os.environ, "PYTHONPATH": str(folder), "VLLM_API_KEY": key}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told: list[str] = []
        threading.Thread(target=lambda: told.extend(process.stdout or []), daemon=True).start()
        try:
            until(lambda: any("Starting vLLM API server on" in line for line in told), within=20)
            port = next(int(line.rsplit(":", 1)[1]) for line in told if "Starting vLLM API server on" in line)
            endpoint = Endpoint("127.0.0.1", port, MODEL, key, process.pid)
            until(lambda: healthy(endpoint), within=10)
            yield endpoint
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with stand_in(tmp_path_factory.mktemp("served"), "--chat-template=x", key=KEY) as endpoint:
        yield endpoint


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_is_what_the_openai_client_gets(served: Endpoint, *, chat: bool, stream: bool) -> None:
    from openai import OpenAI

    with OpenAI(base_url=f"http://127.0.0.1:{served.port}/v1", api_key=KEY) as client:
        if chat:
            one = client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "Hello!"}], max_tokens=7
            )
            theirs = one.choices[0].message.content
        else:
            theirs = client.completions.create(model=MODEL, prompt="Hello!", max_tokens=7).choices[0].text
    question = Question("Hello!", chat, max_tokens=7)
    pieces = list(answer(served, question, stream=stream))
    assert "".join(piece.text for piece in pieces) == theirs
    assert (question.tokens, len(pieces)) == (7, 7 if stream else 1)


def test_pieces_come_as_they_are_made(served: Endpoint) -> None:
    pieces = list(answer(served, Question("slow 2", chat=True, max_tokens=4), stream=True))
    assert [piece.text for piece in pieces] == [" t0", " t1", " t2", " t3"]
    times = [piece.seconds for piece in pieces]
    assert times[0] < 0.35
    assert all(later - before > 0.1 for before, later in itertools.pairwise(times))


@pytest.mark.parametrize(
    ("endpoint", "text", "words"),
    [
        ({"key": "another"}, "Hi", "the server refused the API key (HTTP 401)"),
        ({"model": "nope"}, "Hi", "the server has no model nope (HTTP 404: The model `nope` does not exist.)"),
        ({}, "please fail", "the server answered HTTP 500: the stand-in was asked to fail"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_refusals(served: Endpoint, endpoint: dict[str, str], text: str, words: str, *, stream: bool) -> None:
    with pytest.raises(RefusedError) as caught:
        list(answer(served._replace(**endpoint), Question(text, chat=True), stream=stream))  # type: ignore[arg-type]
    assert str(caught.value) == words
    assert f"HTTP {caught.value.status}" in words


def test_a_chat_without_a_template(tmp_path: Path) -> None:
    with stand_in(tmp_path) as endpoint, pytest.raises(RefusedError, match="chat template is no longer allowed"):
        list(answer(endpoint, Question("Hi", chat=True), stream=True))


@pytest.mark.parametrize("stream", [True, False])
def test_a_server_that_dies_while_it_answers(tmp_path: Path, *, stream: bool) -> None:
    got: list[Piece] = []
    with stand_in(tmp_path, "--chat-template=x") as endpoint:
        with pytest.raises(BrokeOffError):
            got.extend(answer(endpoint, Question("please die", chat=True), stream=stream))
        with pytest.raises(BrokeOffError, match=r"refused|reset"):
            list(answer(endpoint, Question("Hi", chat=True), stream=stream))


def _saying(*events: object) -> bytes:
    lines = "".join(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events)
    return f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{lines}".encode()


@pytest.mark.parametrize(
    ("answered", "kind", "words"),
    [
        (
            _saying({"error": {"message": "the engine is dead"}}),
            ServerError,
            "the server broke off: the engine is dead",
        ),
        (_saying({"choices": [{"text": "a"}]}), BrokeOffError, "last words were missing"),
        (_saying({"choices": "a"}), BrokeOffError, "another shape"),
        (_saying({"usage": {"completion_tokens": "many"}, "choices": []}), BrokeOffError, "many"),
        (_saying("{"), BrokeOffError, "Expecting"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", BrokeOffError, "SSH"),
        (b"", BrokeOffError, "closed connection"),
    ],
)
def test_what_is_no_answer(answered: bytes, kind: type[Exception], words: str) -> None:
    with saying(answered) as endpoint, pytest.raises(kind, match=words):
        list(answer(endpoint, Question("Hi", chat=False), stream=True))


@contextmanager
def saying(answered: bytes) -> Iterator[Endpoint]:
    """A server that answers so, whatever it is asked."""

    def say(line: socket.socket) -> None:
        line.recv(1 << 16)
        line.sendall(answered)
        line.shutdown(socket.SHUT_WR)
        while line.recv(1 << 16):  # closed with something unread, the connection would be reset
            pass

    with tcp_server(say) as port:
        yield Endpoint("127.0.0.1", port, MODEL, "", 0)


def _http(status: int, body: bytes, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} X", *headers, "", ""]).encode() + body


DEEP = b"[" * 100_000
LENGTH, CHUNKED = "Content-Length: 1" + "0" * 18, "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("answered", "kind", "words"),
    [
        (_saying(DEEP.decode()), BrokeOffError, "recursion"),
        (_http(500, DEEP), RefusedError, r"HTTP 500: \[\["),
        (_saying('{"usage": {"completion_tokens": 1e999}, "choices": []}'), BrokeOffError, "inf tokens"),
        (_saying('{"usage": {"completion_tokens": 1%s}, "choices": []}' % ("0" * 400)), BrokeOffError, "0 tokens"),
        (_saying('{"usage": {"completion_tokens": -1}, "choices": []}'), BrokeOffError, "-1 tokens"),
        (_saying('{"usage": {"completion_tokens": true}, "choices": []}'), BrokeOffError, "True tokens"),
        (_http(500, b"{}", LENGTH), BrokeOffError, "more than 67108864 bytes"),
        (_http(200, b"data: {}\n", LENGTH + "0" * 12), BrokeOffError, "another shape"),
        (_http(200, b"ffffffffffffffffffff\r\n{}", CHUNKED), BrokeOffError, "too large"),
        (_http(200, b"-1\r\n" + b"A" * 100_000, CHUNKED), BrokeOffError, "-1 bytes"),
        (_http(200, b"zz\r\n{}", CHUNKED), BrokeOffError, "last words were missing"),
        (_http(200, b"A" * (1024**2 + 1)), BrokeOffError, "a line of more than 1048576 bytes"),
    ],
)  # fmt: skip
def test_an_answer_that_is_made_for_harm(answered: bytes, kind: type[Exception], words: str) -> None:
    with saying(answered) as endpoint, pytest.raises(kind, match=words):
        list(answer(endpoint, Question("Hi", chat=False), stream=True))


@pytest.mark.parametrize(
    ("answered", "words"),
    [
        (_http(200, DEEP), "recursion"),
        (_http(200, b"{}", LENGTH), "more than 67108864 bytes"),
        (_http(200, b"{}", LENGTH + "0" * 12), "more than 67108864 bytes"),
        (_http(200, b"{}", "Content-Length: 5"), "2 bytes read, 3 more expected"),
        (_http(200, b"ffffffffffffffffffff\r\n{}", CHUNKED), "a chunk of 67108865 bytes"),
        (_http(200, b"-1\r\n{}", CHUNKED), "-1 bytes"),
    ],
)
def test_a_whole_answer_that_is_made_for_harm(answered: bytes, words: str) -> None:
    with saying(answered) as endpoint, pytest.raises(BrokeOffError, match=words):
        list(answer(endpoint, Question("Hi", chat=False), stream=False))


@pytest.mark.parametrize("text", ["x" * 9000, "\u200b" * 9000, "\U000e0001" * 500])
def test_a_long_answer_is_printed_whole(capsys: pytest.CaptureFixture[str], text: str) -> None:
    told = {"choices": [{"text": text}], "usage": {"completion_tokens": 3}}
    with saying(_http(200, json.dumps(told).encode())) as endpoint:
        ask._print(endpoint, Question("Hi", chat=False), stream=False)
    out = capsys.readouterr().out
    assert "cut:" not in out
    assert out.count("x") + out.count("⟨") == len(text)


def test_which_routes_are_open(served: Endpoint) -> None:
    found = open_routes.look(served)
    assert found["error"] is None
    opened = {one["path"]: one["status"] for one in found["open"]}
    assert opened == {
        "/health": 200, "/metrics": 200, "/openapi.json": 200, "/ping": 200, "/version": 200,
        "/scale_elastic_ep": 405, "/tokenize": 405, "/invocations": 405,
    }  # fmt: skip
    # Four of /v1 were tried and refused; /docs and /redoc are not served there.
    assert found["tested"] == len(opened) + 4


def test_open_routes_of_a_server_that_says_nothing() -> None:
    def silent(line: socket.socket) -> None:
        line.recv(1 << 16)

    with tcp_server(silent) as port:
        began = time.monotonic()
        found = open_routes.look(Endpoint("127.0.0.1", port, MODEL, KEY, 0))
    assert time.monotonic() - began < 5
    assert found["error"] == "/openapi.json could not be read: RemoteDisconnected"
    assert {one["status"] for one in found["open"]} == {None}
