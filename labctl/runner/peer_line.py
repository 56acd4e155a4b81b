"""One connection between two supervisors of a span, and how it is made."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any

from labctl.runner.peer_wire import LONGEST, Wire, WireError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from labctl.runner.placement import Span

_HANG_UP_S = 2.0


class PeerError(RuntimeError):
    """The hosts of a span cannot hear each other; the message is one readable sentence."""


class Line:
    """One connection: its socket, its wire, what is still to be sent, and whose it is (None: not known yet)."""

    def __init__(self, sock: socket.socket, token: str, *, listener: bool, likely: bool = False) -> None:
        """``sock`` is connected, or about to be. ``likely``: its address is a peer's, which proves nothing."""
        sock.settimeout(0.0)
        self.sock, self.wire, self.out = sock, Wire(token, listener=listener), bytearray()
        self.out += self.wire.opening()
        self.since = time.monotonic()
        self.rank: int | None = None
        self.called, self.likely = listener, likely
        self.tail: object = None
        self.told = -1  # how much of what there was to tell; -1: not even greeted

    @property
    def stranger(self) -> bool:
        """Whether it called and has not shown yet that it is a peer."""
        return self.called and self.rank is None

    def say(self, message: dict[str, Any]) -> None:
        """Send a message as soon as the other end takes it. Raises WireError where it takes nothing at all."""
        self.out += self.wire.pack(message)
        if len(self.out) > 4 * LONGEST:
            raise WireError("it takes nothing")

    def say_beat(self, beat: dict[str, Any]) -> None:
        """Say that this side lives; a log that said nothing new is not sent again."""
        same = beat.get("tail") == self.tail
        self.tail = beat.get("tail")
        self.say({key: value for key, value in beat.items() if key != "tail" or not same})

    def flush(self) -> None:
        """Send what can be sent now. Raises OSError."""
        with contextlib.suppress(BlockingIOError):
            while self.out:
                del self.out[: self.sock.send(self.out)]

    def receive(self) -> list[dict[str, Any]]:
        """The messages that came. Raises OSError, WireError, EOFError at its end."""
        data = self.sock.recv(1 << 16)
        if not data:
            raise EOFError
        return self.wire.feed(data)


def listen(span: Span) -> socket.socket:
    """A socket on the first host's private address, and on no other. Raises PeerError."""
    address = span.addresses[0], span.peer_port
    try:
        server = socket.create_server(address, family=_family(address[0]))
    except OSError as error:
        what = f"{span.hosts[0]} cannot listen on {address[0]} port {address[1]}: {error.strerror or error}"
        raise PeerError(what) from error
    server.settimeout(0.0)
    return server


def call(span: Span) -> socket.socket | None:
    """A connection to the first host, None where it does not answer (yet)."""
    sock = socket.socket(_family(span.addresses[0]), socket.SOCK_STREAM)
    try:
        # From the private address, where it is this host's: if it is not, the first host must hear of that too.
        with contextlib.suppress(OSError):
            sock.bind((span.addresses[span.rank], 0))
        sock.settimeout(2.0)
        sock.connect((span.addresses[0], span.peer_port))
    except OSError:
        sock.close()
        return None
    return sock


def hang_up(lines: Iterable[Line]) -> None:
    """Say nothing more on these lines, and read what still comes, for 2 s in all at most.

    Nothing that was sent may be lost: closing with unread bytes would reset the line.
    """
    deadline = time.monotonic() + _HANG_UP_S
    open_ = [*lines]
    for line in open_:
        with contextlib.suppress(OSError):
            line.sock.shutdown(socket.SHUT_WR)
    for line in open_:
        with contextlib.suppress(OSError):
            _drain(line.sock, deadline)


def _drain(sock: socket.socket, deadline: float) -> None:
    while (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        if not sock.recv(1 << 16):
            return


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
