"""Which keys are offered to a host, in OpenSSH's order: the agent's that the configuration names, others, files."""

from __future__ import annotations

import contextlib
import socket
from base64 import b64decode
from typing import TYPE_CHECKING, Any

from paramiko.agent import AgentSSH
from paramiko.auth_strategy import AuthStrategy, InMemoryPrivateKey, OnDiskPrivateKey
from paramiko.config import SSHConfig
from paramiko.pkey import PKey, UnknownKeyType
from paramiko.ssh_exception import PasswordRequiredException, SSHException

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labctl.sessions.ssh.settings import Settings


class _Agent(AgentSSH):  # type: ignore[misc]  # paramiko has no types
    """The agent at a socket of our choice (IdentityAgent); paramiko's own knows SSH_AUTH_SOCK alone."""

    def __init__(self, path: str) -> None:
        super().__init__()
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(5.0)
        try:
            line.connect(path)
            # An agent may ask its owner before it signs.
            line.settimeout(60.0)
            self._connect(line)
        except OSError:
            line.close()
            raise

    def close(self) -> None:
        """Let the agent go."""
        self._close()


class Keys(AuthStrategy):  # type: ignore[misc]  # paramiko has no types
    """Offers keys, never a password. ``locked``: files that a passphrase closes; ``offered``: what was tried."""

    def __init__(self, settings: Settings) -> None:
        """``settings`` name the agent and the files."""
        super().__init__(ssh_config=SSHConfig())
        self.settings = settings
        self.offered: list[str] = []
        self.locked: list[Path] = []

    def get_sources(self) -> Iterator[Any]:
        """Yield what to try, in this order; an identity that is not there is passed over."""
        user = self.settings.user
        # A public half is enough to name a key that only the agent holds.
        named = {blob for path in self.settings.identities if (blob := _public(path)) is not None}
        with contextlib.ExitStack() as stack:
            inside = self._agent_keys(stack)
            mine = [key for key in inside if key.asbytes() in named]
            others = [] if self.settings.identities_only else [key for key in inside if key not in mine]
            for key in (*mine, *others):
                self.offered.append(f"the agent's {key.get_name()}")
                yield InMemoryPrivateKey(user, key)
            held = {key.asbytes() for key in inside}
            for path in self.settings.identities:
                # What the agent holds was tried, and may well have a passphrase.
                loaded = None if _public(path) in held else self._load(path)
                if loaded is not None and loaded.asbytes() not in held:
                    self.offered.append(str(path))
                    yield OnDiskPrivateKey(user, "ssh-config", path, loaded)

    def _agent_keys(self, stack: contextlib.ExitStack) -> list[Any]:
        if not self.settings.agent:
            return []
        try:
            agent = stack.enter_context(contextlib.closing(_Agent(self.settings.agent)))
        except (OSError, SSHException):
            return []
        return list(agent.get_keys())

    def _load(self, path: Path) -> PKey | None:
        try:
            return PKey.from_path(path)
        except (PasswordRequiredException, TypeError):
            # The second is what the cryptography library says, and paramiko lets through.
            self.locked.append(path)
        except (SSHException, UnknownKeyType, OSError, ValueError):
            # A public half, a kind that paramiko does not know: OpenSSH passes over it too.
            return None
        return None


def _public(path: Path) -> bytes | None:
    """The public half that lies beside a key file (or is the file)."""
    for place in (path.with_name(path.name + ".pub"), path):
        try:
            fields = place.read_text(encoding="ascii").split()
            return b64decode(fields[1], validate=True) if fields[0] != "-----BEGIN" else None
        except (OSError, ValueError, IndexError):
            continue
    return None
