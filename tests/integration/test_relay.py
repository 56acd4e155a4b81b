"""A port that leads elsewhere, over real sockets: all bytes, at once, many side by side, and every way to end."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from labctl.errors import ServerError, UsageError
from labctl.inventory import Host
from labctl.sessions import open_session, relay
from tests.e2e.conftest import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = Host(name="here", connection="local", lab_dir="/nowhere", address="here")


@contextlib.contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server: ``answer`` gets each connection in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            answer(line)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = listener.accept()
                threading.Thread(target=serve, args=(line,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        listener.close()


def echo(line: socket.socket) -> None:
    while data := line.recv(1 << 16):
        line.sendall(data)


def everything(line: socket.socket) -> bytes:
    found = bytearray()
    while data := line.recv(1 << 16):
        found += data
    return bytes(found)


def through(port: int) -> contextlib.AbstractContextManager[int]:
    """A relay to a port of this machine: with another port asked for, the local session is one."""
    session = open_session(HOST)
    return session.forward(port, local=_free())


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def test_the_local_session_needs_no_relay() -> None:
    with server(echo) as port, open_session(HOST).forward(port) as here:
        assert here == port


def test_bytes_both_ways_and_the_end_of_each_way() -> None:
    sent = bytes(range(256)) * 20_000
    with server(echo) as port, through(port) as here, socket.create_connection(("127.0.0.1", here), 10) as line:
        assert here != port

        def send() -> None:
            line.sendall(sent)
            line.shutdown(socket.SHUT_WR)

        threading.Thread(target=send, daemon=True).start()
        assert everything(line) == sent


def test_many_at_once() -> None:
    def one(number: int) -> bool:
        sent = f"connection {number}".encode() * 1000
        with socket.create_connection(("127.0.0.1", here), 20) as line:
            line.sendall(sent)
            line.shutdown(socket.SHUT_WR)
            return everything(line) == sent

    with server(echo) as port, through(port) as here, ThreadPoolExecutor(64) as pool:
        assert all(pool.map(one, range(200)))


def test_a_small_piece_does_not_wait_for_the_next() -> None:
    def slowly(line: socket.socket) -> None:
        for number in range(5):
            line.sendall(f"token {number}\n".encode())
            time.sleep(0.2)

    with server(slowly) as port, through(port) as here, socket.create_connection(("127.0.0.1", here), 10) as line:
        began = time.monotonic()
        came = [(line.recv(1000), time.monotonic() - began) for _ in range(5)]
    assert [data for data, _ in came] == [f"token {number}\n".encode() for number in range(5)]
    assert came[0][1] < 0.15
    assert all(later - before > 0.1 for (_, before), (_, later) in itertools.pairwise(came))


def test_a_client_that_leaves_is_told_to_the_server() -> None:
    left = threading.Event()

    def endless(line: socket.socket) -> None:
        try:
            while True:
                line.sendall(b"x" * 1000)
                time.sleep(0.01)
        except OSError:
            left.set()

    with server(endless) as port, through(port) as here:
        with socket.create_connection(("127.0.0.1", here), 10) as line:
            line.recv(10)
        assert left.wait(5)


def test_a_server_that_goes_ends_the_connection_and_not_the_relay() -> None:
    with server(lambda line: line.sendall(b"bye")) as port:
        tunnel = through(port)
        here = tunnel.__enter__()
        with socket.create_connection(("127.0.0.1", here), 10) as line:
            assert everything(line) == b"bye"
    with socket.create_connection(("127.0.0.1", here), 10) as line, contextlib.suppress(ConnectionResetError):
        assert everything(line) == b"", "nobody answers there any more"
    tunnel.__exit__(None, None, None)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", here), 10)


def test_the_end_of_the_block_ends_what_is_open() -> None:
    ended = threading.Event()

    def wait(line: socket.socket) -> None:
        if line.recv(1):  # the tunnel's own look whether anybody is there sends nothing
            line.sendall(b"b")
            line.recv(1)
            ended.set()

    with server(wait) as port:
        with through(port) as here:
            line = socket.create_connection(("127.0.0.1", here), 10)
            line.sendall(b"a")
            assert line.recv(1) == b"b"
        assert line.recv(1) == b""
        assert ended.wait(5)
        line.close()


def test_nothing_that_listens() -> None:
    with pytest.raises(ServerError, match=r"nothing answers at 127\.0\.0\.1:1 on here"), through(1):
        raise AssertionError


def test_a_port_that_is_taken() -> None:
    with server(echo) as port, server(echo) as taken:
        tunnel = open_session(HOST).forward(port, local=taken)
        with pytest.raises(UsageError, match=f"port {taken} of this machine cannot be had: Address already in use"):
            tunnel.__enter__()


@pytest.mark.parametrize("port", [70_000, -1])
def test_a_port_that_is_none(port: int) -> None:
    with pytest.raises(UsageError, match="cannot be had"), relay.listening(socket.socket, port):
        raise AssertionError


def test_only_this_machine_gets_in() -> None:
    with server(echo) as port, through(port) as here:
        listening = f"0100007F:{here:04X}"
        with open("/proc/net/tcp", encoding="ascii") as table:  # noqa: PTH123
            assert any(row.split()[1] == listening and row.split()[3] == "0A" for row in list(table)[1:])


def test_no_thread_stays_behind() -> None:
    def relays() -> int:
        return sum(thread.name == "relay" for thread in threading.enumerate())

    before = relays()
    with server(echo) as port, through(port) as here:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", here), 10) as line:
                line.sendall(b"x")
                assert line.recv(1) == b"x"
    until(lambda: relays() <= before, within=5)
