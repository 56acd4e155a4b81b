"""The client and the recorder between it and a server, over real sockets."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from labctl.runner import ports, processes, wire
from labctl.runner.failures import ServerError
from labctl.runner.recorder import Recorder
from labctl.runner.redact import Redactor
from labctl.runner.serving import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "k-1234"
JSON = b'HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{"say":"\xe2\x82\xac"}'
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: text/event-stream\r\n\r\n"


def chunk(text: str, more: bytes = b"") -> bytes:
    data = text.encode() + more
    return b"%x\r\n%b\r\n" % (len(data), data)


class Peer:
    """Takes one connection, keeps what came, sends the pieces, one every 50 ms, and sees when the client leaves."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.got = b""
        self.left = threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        line, _ = self.socket.accept()
        with line:
            self.got = line.recv(65536)
            while b"\r\n\r\n" not in self.got:
                self.got += line.recv(65536)
            line.settimeout(0.05)
            for piece in self.pieces:
                try:
                    line.sendall(piece)
                    while not self.left.is_set():
                        more = line.recv(65536)
                        self.got += more
                        if not more:
                            self.left.set()
                except TimeoutError:
                    continue
                except OSError:
                    self.left.set()

    def endpoint(self, key: str = "") -> Endpoint:
        return Endpoint("127.0.0.1", self.socket.getsockname()[1], "m", key, 0)


@contextmanager
def peer(*pieces: bytes) -> Iterator[Peer]:
    made = Peer(*pieces)
    yield made
    made.thread.join(timeout=5)
    made.socket.close()


def test_a_request_and_its_answer() -> None:
    with peer(JSON) as other:
        answer = wire.post_json(other.endpoint(KEY), "/v1/x", {"text": "€"})
    assert (answer.status, answer.json()) == (200, {"say": "€"})
    assert answer.seconds > 0
    head, _, body = other.got.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/x HTTP/1.1\r\n")
    assert b"Authorization: Bearer k-1234" in head
    assert body.decode() == '{"text": "€"}'


@pytest.mark.parametrize("path", ["/health", "/version", "/metrics", "/openapi.json", "/reset_prefix_cache"])
def test_the_key_goes_only_where_it_is_asked_for(path: str) -> None:
    with peer(JSON) as other:
        wire.get(other.endpoint(KEY), path)
    assert KEY.encode() not in other.got


def test_lines_come_as_they_are_sent() -> None:
    events = [chunk(f'data: {{"n": {number}}}\n\n') for number in range(3)]
    with peer(HEAD, *events, chunk("data: [DONE]\n\n") + b"0\r\n\r\n") as other:
        rows = [(t, wire.data(line)) for t, line in wire.stream(other.endpoint(), "/v1/x", {})]
    found = [(t, piece) for t, piece in rows if piece]
    assert [piece for _, piece in found] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert found[2][0] - found[0][0] >= 0.08, "the second and third were sent 50 ms apart"


def test_who_stops_reading_leaves() -> None:
    with peer(HEAD, *[chunk("data: {}\n\n")] * 100) as other:
        lines = wire.stream(other.endpoint(), "/v1/x", {})
        next(lines)
        lines.close()  # type: ignore[attr-defined]
        assert other.left.wait(timeout=3)


def test_another_status_is_told() -> None:
    with (
        peer(b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nno m.") as other,
        pytest.raises(wire.WireError) as got,
    ):
        list(wire.stream(other.endpoint(), "/v1/x", {}))
    assert (got.value.status, got.value.text) == (404, "no m.")


def test_no_answer_is_an_error() -> None:
    with peer() as other, pytest.raises((OSError, http.client.HTTPException)):
        wire.get(other.endpoint(), "/health", timeout=2)


def test_the_recorder_keeps_every_byte_but_the_key(tmp_path: Path) -> None:
    with peer(HEAD, chunk("data: k-1234 \n", b"\xff no UTF-8\n"), b"0\r\n\r\n") as other:
        endpoint = other.endpoint(KEY)
        with Recorder(endpoint) as recorder:
            assert list(wire.stream(endpoint, "/v1/x", {"a": "ü"}, sock=recorder.connect()))
    recorder.keep(tmp_path / "01-x", Redactor({}, {"key": KEY}))
    request = (tmp_path / "01-x.request.http").read_bytes()
    response = (tmp_path / "01-x.response.http").read_bytes()
    assert request == other.got.replace(KEY.encode(), b"[masked]")
    assert f"Host: 127.0.0.1:{endpoint.port}".encode() in request
    assert response == b"".join(other.pieces).replace(KEY.encode(), b"[masked]")


def test_a_client_that_leaves_through_the_recorder_leaves_the_server() -> None:
    with peer(HEAD, *[chunk("data: {}\n\n")] * 100) as other, Recorder(other.endpoint()) as recorder:
        lines = wire.stream(other.endpoint(), "/v1/x", {}, sock=recorder.connect())
        next(lines)
        lines.close()  # type: ignore[attr-defined]
        assert other.left.wait(timeout=3)


def test_the_recorder_adds_little_time() -> None:
    events = [chunk("data: {}\n\n")] * 2
    with peer(HEAD, *events, b"0\r\n\r\n") as other, Recorder(other.endpoint()) as recorder:
        began = time.monotonic()
        list(wire.stream(other.endpoint(), "/v1/x", {}, sock=recorder.connect()))
    assert time.monotonic() - began < 2


def test_a_free_port_is_free_and_a_taken_one_says_by_whom() -> None:
    number = ports.free("127.0.0.1")
    ports.check("127.0.0.1", number)
    with socket.create_server(("127.0.0.1", number)), pytest.raises(ServerError) as got:
        ports.check("127.0.0.1", number)
    assert f"port {number} at 127.0.0.1 cannot be had: Address already in use" in str(got.value)
    assert "(pid " in str(got.value)


@pytest.mark.parametrize(
    ("bound", "asked"),
    [
        ("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("0.0.0.0", "127.0.0.1"),  # noqa: S104
        ("::1", "::1"), ("::", "::1"), ("::", "127.0.0.1"), ("::ffff:127.0.0.1", "127.0.0.1"),
    ],
)  # fmt: skip
def test_whose_socket_takes_a_connection(bound: str, asked: str) -> None:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.socket(family) as one:
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bound == "::1"))
        one.bind((bound, 0))
        one.listen()
        found = ports.listeners(asked, one.getsockname()[1])
        assert found == {os.fstat(one.fileno()).st_ino}
        assert found <= processes.sockets(processes.family(os.getpid()))
        assert ports.listeners("127.0.0.2", one.getsockname()[1]) == (found if bound in {"::", "0.0.0.0"} else set())  # noqa: S104


def test_the_most_particular_socket_takes_it() -> None:
    with socket.create_server(("127.0.0.2", 0)) as one:
        number = one.getsockname()[1]
        with socket.create_server(("127.0.0.1", number)) as other:
            assert ports.listeners("127.0.0.1", number) == {os.fstat(other.fileno()).st_ino}
        assert ports.listeners("127.0.0.1", number) == set()


CHILD = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
GRANDCHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


@pytest.mark.parametrize(("code", "own_group"), [(CHILD, 0), (GRANDCHILD, 0), (GRANDCHILD, None)])
def test_a_socket_of_a_server_may_be_a_process_below_it(code: str, own_group: int | None) -> None:
    words = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, process_group=own_group) as ours,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=pipe, process_group=0) as stranger,
    ):
        assert ours.stdout is not None
        heard = ports.listeners("127.0.0.1", int(ours.stdout.readline()))
        assert len(heard) == 1
        assert heard <= processes.sockets(processes.family(ours.pid))
        assert not heard & processes.sockets(processes.family(stranger.pid))
        for one in (ours, stranger):
            assert one.stdin is not None
            one.stdin.close()


def test_an_address_that_is_not_here() -> None:
    with pytest.raises(ServerError, match=r"cannot listen at 192\.0\.2\.1"):
        ports.free("192.0.2.1")


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", "http://127.0.0.1:8"), ("0.0.0.0", "http://127.0.0.1:8"), ("::", "http://[::1]:8")],  # noqa: S104
)
def test_where_a_server_is_reached_from_its_host(address: str, expected: str) -> None:
    assert wire.url(Endpoint(address, 8, "m", "", 0), "/v1") == f"{expected}/v1"
