"""Sessions: an open line to a Host. One Protocol, one dict of backends."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from labctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

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


class Session(Protocol):
    """The verbs every backend has. Paths on the host are absolute strings."""

    def __enter__(self) -> Self:
        """Open the line. Raises UnreachableError or HostKeyError."""

    def __exit__(self, *_: object) -> None:
        """Close it."""

    def run(self, command: Sequence[str], *, timeout: float = 60.0, env: Mapping[str, str] | None = None) -> Done:
        """Run a command to its end. Raises UnreachableError where the line is lost or ``timeout`` (s) passes."""

    def claim(self, folder: str) -> bool:
        """Make a folder (and its parents); False where it is there already, so that only one can have made it."""

    def put(self, data: bytes, target: str, *, mode: int = 0o640) -> None:
        """Write a file, whole or not at all. Raises TransferError."""

    def get(self, source: str, target: Path, *, offset: int = 0) -> int:
        """Append the bytes of ``source`` from ``offset`` to ``target``; returns how many. Raises TransferError."""

    def read(self, source: str, *, limit: int = 64 * 1024 * 1024) -> bytes | None:
        """A small file whole, None where there is none. Raises TransferError beyond ``limit`` bytes."""

    def walk(self, folder: str) -> list[Entry] | None:
        """Everything below a folder, links and other oddities included (as not regular); None: no such folder."""

    def names(self, folder: str) -> list[str] | None:
        """Names of the entries of one folder, None where there is none."""


# Ansible's connection name -> (module, class).
BACKENDS: dict[str, tuple[str, str]] = {"local": ("labctl.sessions.local", "LocalSession")}


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
