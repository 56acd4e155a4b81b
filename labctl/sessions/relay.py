"""A port of this machine whose connections are carried elsewhere: each byte at once, many connections side by side."""

from __future__ import annotations

import contextlib
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from labctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOPBACK = "127.0.0.1"
_CHUNK = 1 << 16
_WAITING = 128  # connections that the kernel keeps until they are accepted (listen(2))


class End(Protocol):
    """One end of a connection: a socket, or a channel of SSH, which has the same verbs."""

    def recv(self, most: int, /) -> bytes:
        """Between 1 and ``most`` bytes; none once the other side sends no more."""

    def sendall(self, data: bytes, /) -> object:
        """Send everything."""

    def shutdown(self, how: int, /) -> object:
        """Send no more (SHUT_WR), or nothing either way any more (SHUT_RDWR)."""

    def close(self) -> object:
        """Let go of it."""


@contextmanager
def listening(dial: Callable[[], End], local: int = 0) -> Iterator[int]:
    """Carry what comes to a port of 127.0.0.1 to what ``dial`` opens, until the block ends; gives the port.

    ``dial`` is called once a connection, in a thread; where it raises OSError, that connection is closed.
    ``local``: the port wanted, 0 for a free one. Raises UsageError where it is taken.
    """
    relay = _Relay(_listener(local), dial)
    threading.Thread(target=relay.accept, daemon=True, name="relay").start()
    try:
        yield relay.port
    finally:
        relay.close()


def _listener(local: int) -> socket.socket:
    listener = socket.socket()
    try:
        # After a line was cut the same port is taken again at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, local))
        listener.listen(_WAITING)
    except (OSError, OverflowError) as error:
        listener.close()
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"port {local} of this machine cannot be had: {why}") from error
    return listener


class _Relay:
    """The listener and all connections that are open through it."""

    def __init__(self, listener: socket.socket, dial: Callable[[], End]) -> None:
        self._listener, self._dial = listener, dial
        self.port: int = listener.getsockname()[1]
        self._open: set[End] = set()
        self._lock = threading.Lock()
        self._closed = False

    def accept(self) -> None:
        """Take connections until it is closed."""
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                # Tokens are small and come one by one: none waits for the next (tcp(7), Nagle).
                near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._carry, args=(near,), daemon=True, name="relay").start()

    def close(self) -> None:
        """Take no more connections, and end those that are open."""
        with self._lock:
            self._closed = True
            ends = list(self._open)
        # A listener that is only closed would keep its thread in accept().
        for end in (self._listener, *ends):
            _drop(end)

    def _carry(self, near: socket.socket) -> None:
        try:
            far = self._dial()
        except OSError:
            near.close()
            return
        if not self._keep(near, far):
            return
        back = threading.Thread(target=_pump, args=(far, near), daemon=True, name="relay")
        back.start()
        _pump(near, far)
        back.join()
        with self._lock:
            self._open -= {near, far}
        for end in (near, far):
            _drop(end)

    def _keep(self, *ends: End) -> bool:
        """Note ends as open; where the relay was closed meanwhile, they are closed too."""
        with self._lock:
            if not self._closed:
                self._open |= set(ends)
                return True
        for end in ends:
            _drop(end)
        return False


def _pump(source: End, target: End) -> None:
    """Copy until the source sends no more, then say so to the target; an end that breaks ends both."""
    try:
        while data := source.recv(_CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except (OSError, EOFError):
        # A client that left in mid-stream: the server must hear of it, and stop generating.
        for end in (source, target):
            with contextlib.suppress(OSError, EOFError):
                end.shutdown(socket.SHUT_RDWR)


def _drop(end: End) -> None:
    with contextlib.suppress(OSError, EOFError):
        end.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError, EOFError):
        end.close()
