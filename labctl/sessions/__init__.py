"""Sessions: an open line to a Host. One Protocol, one dict of backends."""

from __future__ import annotations

import importlib
import io
from contextlib import nullcontext
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol, Self

from labctl.errors import TransferError, UsageError
from labctl.sessions.relay import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from labctl.inventory import Host


class Done(NamedTuple):
    """A finished command on the host: exit status and what it said (text, for people; never parsed)."""

    code: int
    out: str
    err: str


class Entry(NamedTuple):
    """One thing in a folder on the host: path relative to it, size in bytes, and whether it is a regular file."""

    path: str
    size: int
    regular: bool


class Want(NamedTuple):
    """Part of a file: its path below a folder, from which byte on, and how many bytes at most."""

    name: str
    offset: int = 0
    limit: int = 64 * 1024 * 1024


class Session(Protocol):
    """The verbs every backend has. Paths on the host are absolute, or relative to where its sessions begin.

    Every verb raises UnreachableError where the line is lost; ``reopen`` mends it.
    """

    def __enter__(self) -> Self:
        """Open the line. Raises UnreachableError or HostKeyError."""

    def __exit__(self, *_: object) -> None:
        """Close it."""

    def reopen(self) -> None:
        """Open the line anew. Raises UnreachableError or HostKeyError."""

    def run(self, command: Sequence[str], *, timeout: float = 60.0, env: Mapping[str, str] | None = None) -> Done:
        """Run a command to its end. Raises UnreachableError where ``timeout`` (s) passes."""

    def claim(self, folder: str) -> bool:
        """Make a folder (and its parents); False where it is there already, so that only one can have made it."""

    def put(self, data: bytes, target: str, *, mode: int = 0o640) -> None:
        """Write a file, whole or not at all. Raises TransferError."""

    def bring(
        self, folder: str, wanted: Sequence[Want], into: Callable[[str], AbstractContextManager[BinaryIO]]
    ) -> set[str]:
        """Write parts of files below ``folder`` into what ``into`` opens for each name, in one go.

        Returns the names that are there. Raises TransferError; what was written by then is right as far as it goes.
        """

    def read(self, source: str, *, limit: int = 64 * 1024 * 1024) -> bytes | None:
        """A small file whole, None where there is none. Raises TransferError beyond ``limit`` bytes."""
        folder, _, name = source.rpartition("/")
        data = io.BytesIO()
        want = Want(name, limit=limit + 1)
        if not self.bring(folder or ("/" if source.startswith("/") else "."), [want], lambda _: nullcontext(data)):
            return None
        if data.tell() > limit:
            raise TransferError(f"{source} is larger than {limit} bytes")
        return data.getvalue()

    def walk(self, folder: str) -> list[Entry] | None:
        """Everything below a folder, links and other oddities included (as not regular); None: no such folder."""

    def names(self, folder: str) -> list[str] | None:
        """Names of the entries of one folder, None where there is none."""

    def wait(self, path: str, seconds: float) -> bool:
        """Whether a path is there, waiting up to so many seconds for it."""

    def forward(self, port: int, address: str = LOOPBACK, local: int = 0) -> AbstractContextManager[int]:
        """A port of 127.0.0.1 here that leads to one of the host's while the block lasts, as many times as wanted.

        ``address``: where it listens there; ``local``: the port here, 0 for any. Raises ServerError where nothing
        listens there, UsageError where ``local`` is taken. A line that is cut ends the connections, not the block.
        """


# Ansible's connection name -> (module, class).
BACKENDS: dict[str, tuple[str, str]] = {
    "local": ("labctl.sessions.local", "LocalSession"),
    "ssh": ("labctl.sessions.ssh", "SshSession"),
}


def open_session(host: Host) -> Session:
    """The backend for the host's connection; use it in a ``with``. Raises UsageError for an unknown one."""
    try:
        module, name = BACKENDS[host.connection]
    except KeyError:
        known = ", ".join(BACKENDS)
        raise UsageError(
            f"host {host.name} uses the connection {host.connection!r}, which this labctl does not speak yet "
            f"(it speaks: {known})"
        ) from None
    session: Session = getattr(importlib.import_module(module), name)(host)
    return session
