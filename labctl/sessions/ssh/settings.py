"""What OpenSSH's own client would do for a host: asked from `ssh -G`, so that labctl and Ansible see the same.

No file of SSH is parsed here: Include, Match, tokens and defaults are all applied by OpenSSH itself (ssh_config(5)).
"""

from __future__ import annotations

import getpass
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labctl.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

_JUMP = re.compile(r"(?:ssh://)?(?:(?P<user>.+)@)?(?P<host>\[[^\]]+\]|[^:\[\]@/]+|[0-9A-Fa-f:]+)(?::(?P<port>\d+))?/?")
_NO_PROGRAM = "labctl and Ansible need OpenSSH's client, and there is no program `ssh` here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to reach one machine.

    ``key_name``: under what its key stands in known_hosts. ``agent``: path of the agent's socket, or None.
    ``jumps``: machines to go through, the first one first; ``proxy_command`` with its tokens replaced.
    ``connect_timeout``: seconds. ``known_hosts``: the user's files first, then the machine's.
    """

    alias: str
    hostname: str
    user: str
    port: int
    key_name: str
    known_hosts: tuple[Path, ...]
    user_known_hosts: Path | None = None
    hash_known_hosts: bool = False
    identities: tuple[Path, ...] = ()
    identities_only: bool = False
    agent: str | None = None
    jumps: tuple[str, ...] = ()
    proxy_command: str | None = None
    connect_timeout: float = 10.0

    def __str__(self) -> str:
        return f"{self.user}@{self.hostname}" + (f" port {self.port}" if self.port != 22 else "")  # noqa: PLR2004 - SSH's

    @property
    def words(self) -> str:
        """How `ssh` and `ssh-copy-id` are told of it."""
        return (f"-p {self.port} " if self.port != 22 else "") + f"{self.user}@{self.alias}"  # noqa: PLR2004 - SSH's


def ask(address: str, user: str | None = None, port: int | None = None) -> Settings:
    """What `ssh` would do for this address; ``user`` and ``port`` win over ~/.ssh/config. Raises UnreachableError."""
    options = [*(["-l", user] if user else []), *(["-p", str(port)] if port else [])]
    try:
        done = subprocess.run(["ssh", "-G", *options, "--", address], capture_output=True, text=True, check=False)  # noqa: S607 - the user's own ssh, wherever PATH has it
    except FileNotFoundError:
        raise UnreachableError(_NO_PROGRAM, "apt-get install openssh-client") from None
    if done.returncode != 0:
        raise UnreachableError(f"ssh does not understand how to reach {address}: {done.stderr.strip()}")
    return parse(done.stdout, address)


def parse(text: str, alias: str) -> Settings:
    """Settings from the output of `ssh -G`. Raises UnreachableError where it lacks what every version prints."""
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        said.setdefault(name.lower(), []).append(value.strip())
    one = {name: values[0] for name, values in said.items()}
    try:
        hostname, user, port = one["hostname"], one["user"], int(one["port"])
    except (KeyError, ValueError) as error:
        raise UnreachableError(f"`ssh -G {alias}` did not say how to reach it: {error}") from error
    own, machine = (_paths(one.get(f"{name}knownhostsfile", "")) for name in ("user", "global"))
    seconds = one.get("connecttimeout", "none")
    tokens = {"%h": hostname, "%p": str(port), "%r": user, "%n": alias, "%%": "%"}
    return Settings(
        alias=alias,
        hostname=hostname,
        user=user,
        port=port,
        key_name=_given(one.get("hostkeyalias")) or (hostname if port == 22 else f"[{hostname}]:{port}"),  # noqa: PLR2004 - SSH's port
        known_hosts=(*own, *machine),
        user_known_hosts=own[0] if own else None,
        hash_known_hosts=one.get("hashknownhosts") == "yes",
        identities=tuple(_identity(path, tokens) for path in said.get("identityfile", []) if _given(path)),
        identities_only=one.get("identitiesonly") == "yes",
        agent=_agent(one.get("identityagent")),
        jumps=tuple(filter(None, (_given(one.get("proxyjump")) or "").split(","))),
        proxy_command=_expanded(_given(one.get("proxycommand")), tokens),
        connect_timeout=float(seconds) if seconds.isdecimal() else 10.0,
    )


def jump(text: str) -> Settings:
    """Settings of one machine of ProxyJump: ``[user@]host[:port]`` or ``ssh://…``. Raises UnreachableError."""
    found = _JUMP.fullmatch(text)
    if found is None:
        raise UnreachableError(f"ProxyJump names {text!r}, which is no [user@]host[:port]")
    port = found["port"]
    return ask(found["host"].strip("[]"), found["user"], int(port) if port else None)


def _given(value: str | None) -> str | None:
    return None if value is None or value.lower() in ("none", "") else value


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(name).expanduser() for name in text.split() if name.lower() != "none")


def _agent(value: str | None) -> str | None:
    """IdentityAgent: a path, a variable, none; SSH_AUTH_SOCK where it is not set."""
    if value is not None and value.lower() == "none":
        return None
    if value is None or value == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK") or None
    name = value.removeprefix("$").strip("{}")
    return os.environ.get(name) or None if value.startswith("$") else str(Path(value).expanduser())


def _identity(text: str, tokens: Mapping[str, str]) -> Path:
    """A key file: `ssh -G` leaves its tokens and variables as they were written."""
    here = {"%d": str(Path.home()), "%i": str(os.getuid()), "%u": getpass.getuser()}
    named = re.sub(r"\$\{(\w+)\}", lambda hit: os.environ.get(hit[1], hit[0]), text)
    return Path(_replaced(named, {**tokens, **here})).expanduser()


def _expanded(command: str | None, tokens: Mapping[str, str]) -> str | None:
    return command and _replaced(command, tokens)


def _replaced(text: str, tokens: Mapping[str, str]) -> str:
    return re.sub("%[a-zA-Z%]", lambda hit: tokens.get(hit[0], hit[0]), text)
