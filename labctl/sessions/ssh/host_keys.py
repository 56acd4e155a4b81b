"""Host keys: looked up with `ssh-keygen -F` in the files that OpenSSH uses, refused where unknown or changed."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from paramiko import HostKeys, PKey
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey
from paramiko.ssh_exception import SSHException

from labctl.errors import HostKeyError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from labctl.sessions.ssh.settings import Settings


class UnknownHostKeyError(HostKeyError):
    """Nobody has said yet that this key is the host's."""

    def __init__(self, settings: Settings, key: PKey, host: str) -> None:
        """``settings``: of the machine whose ``key`` it is (a jump host's, perhaps); ``host``: on the way to which."""
        super().__init__(
            f"the host key of {settings} is not known here: {words(key)}. Compare it with what its console shows",
            f"labctl hosts trust {host}",
        )
        self.settings = settings
        self.key = key


class Known(NamedTuple):
    """What known_hosts files say of one name; ``portless``: of the same name without its port, as OpenSSH asks last."""

    keys: list[PKey]
    revoked: list[PKey]
    portless: list[PKey]


def words(key: PKey) -> str:
    """Type and SHA256 fingerprint, as `ssh` prints them."""
    return f"{key.get_name()} {key.fingerprint}"


def known(settings: Settings) -> Known:
    """Every key that the files hold for this machine: hashed names and patterns included (sshd(8))."""
    keys, revoked = _look_up(settings.key_name, settings.known_hosts)
    if keys or settings.key_name != f"[{settings.hostname}]:{settings.port}":
        return Known(keys, revoked, [])
    portless, more = _look_up(settings.hostname, settings.known_hosts)
    return Known([], revoked + more, portless)


def _look_up(name: str, files: Iterable[Path]) -> tuple[list[PKey], list[PKey]]:
    """The keys, and the revoked keys, of one name."""
    keys: list[PKey] = []
    revoked: list[PKey] = []
    for path in files:
        if not path.is_file():
            continue
        command = ["ssh-keygen", "-F", name, "-f", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        for line in done.stdout.splitlines():
            mark, _, rest = line.partition(" ")
            # A certificate authority signs host certificates, which paramiko cannot check: such a host is unknown.
            if mark in ("#", "@cert-authority"):
                continue
            key = _key(rest if mark == "@revoked" else line)
            if key is not None:
                (revoked if mark == "@revoked" else keys).append(key)
    return [key for key in keys if key not in revoked], revoked


def _key(line: str) -> PKey | None:
    try:
        entry = HostKeyEntry.from_line(line.strip())
    except (InvalidHostKey, SSHException, ValueError):
        return None
    return entry.key if entry else None


def remember(settings: Settings, key: PKey) -> Path:
    """Append the key to the user's known_hosts file and give its path. Raises HostKeyError where that cannot be."""
    path = settings.user_known_hosts
    if path is None or (path.exists() and not path.is_file()):
        what = f"~/.ssh/config keeps no known hosts for {settings.alias} (UserKnownHostsFile {path or 'none'})"
        raise HostKeyError(f"{what}: labctl does not speak to a host whose key nobody keeps")
    name = HostKeys.hash_host(settings.key_name) if settings.hash_known_hosts else settings.key_name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "r+b") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - 1))
        # Whoever wrote the file last need not have ended its last line.
        start = "\n" if handle.read(1) not in (b"", b"\n") else ""
        handle.write(f"{start}{name} {key.get_name()} {key.get_base64()}\n".encode())
    return path


def changed(settings: Settings, key: PKey, expected: PKey) -> HostKeyError:
    """The refusal of a key that is not the one we know; there is no option that lets it pass."""
    return HostKeyError(
        f"the host key of {settings} has CHANGED: it shows {words(key)}, known is {words(expected)}. Someone may be "
        f"listening in, or the machine was installed anew. Only if you know which: remove the old key yourself "
        f"(ssh-keygen -R '{settings.key_name}' -f {settings.user_known_hosts}) and look at the new one"
    )
