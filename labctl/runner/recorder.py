"""Keeps what goes over the wire between a client and the server, byte by byte, whichever client it is."""

from __future__ import annotations

import contextlib
import selectors
import socket
import socketserver
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from labctl.runner import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from labctl.runner.serving import Endpoint

_PIECE = 65536


class Recorder:
    """A Unix socket that passes everything on to the server and keeps it: ``path`` for clients, ``connect()`` for ours.

    No proxy: a client connects to it in place of the server's port and speaks as if it were the server, so that
    the bytes (the Host header among them) are those that the server would have got without it.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Listen; each connection is passed on to ``endpoint``. Raises OSError."""
        self._folder = tempfile.TemporaryDirectory(prefix="labctl-", ignore_cleanup_errors=True)
        self.path = str(Path(self._folder.name) / "wire")
        self._relay = _Relay(self.path, (wire.host(endpoint), endpoint.port))
        self._thread = threading.Thread(target=self._relay.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._relay.shutdown()
        self._relay.server_close()
        self._folder.cleanup()

    def connect(self) -> socket.socket:
        """A connection to the server through the recorder. Raises OSError."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.connect(self.path)
        return made

    def keep(self, stem: Path, redact: Callable[[str], str]) -> None:
        """Write STEM.request.http and STEM.response.http, secrets masked; nothing else is changed. Raises OSError."""
        for name, data in (("request", self._relay.sent), ("response", self._relay.received)):
            text = redact(bytes(data).decode("utf-8", errors="surrogateescape"))
            stem.with_name(f"{stem.name}.{name}.http").write_bytes(text.encode("utf-8", errors="surrogateescape"))


class _Relay(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, target: tuple[str, int]) -> None:
        self.target = target
        self.sent, self.received = bytearray(), bytearray()
        super().__init__(path, _Passing)


class _Passing(socketserver.BaseRequestHandler):
    server: _Relay

    def handle(self) -> None:
        """Pass on in both directions until one side ends; a side that breaks off ends the other."""
        with contextlib.suppress(OSError), socket.create_connection(self.server.target) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client: socket.socket = self.request
            ways = {client: (server, self.server.sent), server: (client, self.server.received)}
            with selectors.DefaultSelector() as waiting:
                for one in ways:
                    waiting.register(one, selectors.EVENT_READ)
                while all(_pass(one.fileobj, *ways[one.fileobj]) for one, _ in waiting.select()):  # type: ignore[index, arg-type]
                    pass


def _pass(source: socket.socket, target: socket.socket, kept: bytearray) -> bool:
    data = source.recv(_PIECE)
    # Kept first: what the other side has seen is always in the record.
    kept.extend(data)
    target.sendall(data)
    return bool(data)
