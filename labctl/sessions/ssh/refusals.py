"""Why a connection could not be made, in words that name the cure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramiko.ssh_exception import AuthenticationException, SSHException

from labctl.errors import LabError, UnreachableError

if TYPE_CHECKING:
    from paramiko import Transport

    from labctl.sessions.ssh.auth import Keys
    from labctl.sessions.ssh.settings import Settings


def readable(
    error: BaseException, where: Settings, host: str, keys: Keys, transport: Transport | None
) -> BaseException:
    """The error that people get for one of paramiko's or the socket's."""
    if isinstance(error, AuthenticationException):
        return _refused(where, host, keys, hung_up=transport is not None and not transport.active)
    if isinstance(error, (SSHException, OSError, EOFError)):
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if transport is not None and not transport.remote_version:
            why = "it takes the connection, but does not greet as an SSH server does"
        asked = "Is it switched on, and is that still its address?"
        return UnreachableError(f"{host} cannot be reached at {where}: {why}. {asked}", f"ssh {where.words} true")
    if not isinstance(error, LabError) and isinstance(error, Exception):
        # paramiko lets a few bare exceptions out when a peer talks nonsense.
        return UnreachableError(f"{host} at {where} does not speak SSH as it should: {error!r}")
    return error


def _refused(where: Settings, host: str, keys: Keys, *, hung_up: bool) -> UnreachableError:
    tried = ", ".join(keys.offered) or "none: no agent and no key file that ~/.ssh/config names"
    what = f"{host} refused every key that was offered to {where} (offered: {tried})"
    if keys.locked:
        return UnreachableError(f"{what}; {keys.locked[0]} has a passphrase", f"ssh-add {keys.locked[0]}")
    if hung_up:
        few = "name the right one in ~/.ssh/config (IdentityFile, IdentitiesOnly yes)"
        return UnreachableError(f"{what}, and then hung up: it may take fewer keys than were tried; {few}")
    files = [path for path in where.identities if path.is_file()]
    which = f"-i {files[0]} " if files else ""
    return UnreachableError(f"{what}. labctl logs in with keys, not passwords", f"ssh-copy-id {which}{where.words}")
