"""API keys of kept servers on this machine: made, checked, and kept in 0600 files below the project's .labctl."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING
from urllib.parse import quote

from labctl import runs
from labctl.errors import UsageError
from labctl.runner import rundir

if TYPE_CHECKING:
    from pathlib import Path

# What RFC 6750 lets a Bearer token hold; shorter ones are guessed.
_LEAST = 16
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=")
_OTHERS = 0o077


def made() -> str:
    """A new key of 256 random bits."""
    return secrets.token_urlsafe(32)


def of_file(path: Path) -> str:
    """The key that a file holds. Raises UsageError for one that cannot be read, or that others may read."""
    try:
        text = path.read_text(encoding="ascii").strip()
        shared = path.stat().st_mode & _OTHERS
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read an API key from {path}: {error}") from error
    if shared:
        raise UsageError(f"others may read the API key in {path}", f"chmod 600 {path}")
    if len(text) < _LEAST or not set(text) <= _PLAIN:
        raise UsageError(f"{path} holds no API key: one line of {_LEAST} or more letters, digits and -._~+/=")
    return text


def place(project: Path, host: str, run_id: str) -> Path:
    """Where the key of a run's server lies; ``project``: the folder that holds inventory.ini.

    By its host (a name of the inventory): a run's id is what a host says, and one host's key is no other host's.
    """
    # No name leads out of the folder: no slash, no dot at its beginning.
    folder = quote(host, safe="").replace(".", "%2E", int(host.startswith(".")))
    return project / ".labctl" / "keys" / folder / run_id


def keep(project: Path, host: str, run_id: str, key: str) -> Path:
    """Write a key to its file, which nobody else may read, and give that. Raises OSError."""
    path = place(project, host, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in (path.parent.parent, path.parent):
        folder.chmod(0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(f"{key}\n")
    return path


def kept(project: Path, host: str, run_id: str) -> str:
    """The key that is kept here; empty where there is none."""
    try:
        return place(project, host, run_id).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def forget(project: Path, host: str, run_id: str) -> None:
    """The server is gone."""
    path = place(project, host, run_id)
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others of that host, or none at all
        path.parent.rmdir()


def sweep(project: Path, runs_dir: Path) -> None:
    """Forget the keys of servers whose runs lie sealed in ``runs_dir``, however they ended and came there."""
    for path in (project / ".labctl" / "keys").glob("*/*"):
        run = runs_dir / path.name
        host = str(runs.origin(run).get("host"))
        if (run / rundir.SUMS).is_file() and place(project, host, path.name) == path:
            forget(project, host, path.name)
