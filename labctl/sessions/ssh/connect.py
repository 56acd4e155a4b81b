"""Opens one checked connection to a machine through fabric, jump hosts included. The only importer of fabric."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from fabric import Config, Connection
from paramiko import MissingHostKeyPolicy, PKey, SSHClient, SSHConfig, Transport

from labctl.errors import HostKeyError, UnreachableError
from labctl.sessions.ssh import host_keys, proxy, refusals, settings
from labctl.sessions.ssh.auth import Keys

if TYPE_CHECKING:
    from labctl.sessions.ssh.settings import Settings

# A peer that acknowledges nothing for so long is gone, whatever waits for it (tcp(7), milliseconds).
_DEAD_AFTER_MS = 12_000
_KEEPALIVE_S = 15
_CHANNEL_S = 10.0
_MOST_JUMPS = 8

# Jump hosts are shared by all hosts behind them: sshd drops a crowd that knocks at once (MaxStartups).
_gateways: dict[tuple[str, str, int], Connection] = {}
# One lock each: a dead jump host holds up those behind it, nobody else.
_gateway_locks: dict[tuple[str, str, int], threading.Lock] = {}
_gateway_locks_lock = threading.Lock()
# More handshakes at once than this only slow each other down, until hosts hang up on them.
_handshakes = threading.BoundedSemaphore(32)
# When and why a jump host did not answer: whoever waited for it meanwhile need not wait again.
_silent: dict[tuple[str, str, int], tuple[float, UnreachableError]] = {}
# paramiko's threads would print tracebacks; what they say is raised again in ours.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class _Check(MissingHostKeyPolicy):  # type: ignore[misc]  # paramiko has no types
    """Judges every key: paramiko's own table, which comes before it, holds one key of a kind and so stays empty."""

    def __init__(self, where: Settings, host: str, known: host_keys.Known) -> None:
        self.where, self.host, self.known = where, host, known

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        """Pass a key that is known; refuse any other with its fingerprint."""
        del client, hostname
        if key in self.known.revoked:
            raise HostKeyError(f"the host key of {self.where} is revoked in known_hosts: {host_keys.words(key)}")
        if key in self.known.keys or key in self.known.portless:
            return
        if self.known.keys:
            alike = [one for one in self.known.keys if one.get_name() == key.get_name()]
            raise host_keys.changed(self.where, key, (alike or self.known.keys)[0])
        raise host_keys.UnknownHostKeyError(self.where, key, self.host)

    def transport(self, sock: Any, **options: Any) -> Transport:
        """A transport that asks the host for a key of a kind that we know, where it has one."""
        made = Transport(sock, **options)
        wanted = {key.get_name() for key in (*self.known.keys, *self.known.portless)}
        security = made.get_security_options()
        # A key of the kind ssh-rsa signs as rsa-sha2-512 or rsa-sha2-256.
        rank = {name: re.sub("^rsa-sha2-.*", "ssh-rsa", name) not in wanted for name in security.key_types}
        security.key_types = sorted(security.key_types, key=rank.__getitem__)
        return made


def connect(where: Settings, host: str) -> Connection:
    """An open connection to a machine; ``host`` is the inventory's name, for messages.

    Raises UnreachableError (no answer, no key fits), HostKeyError (unknown, changed, revoked).
    """
    return _open(where, host, _through(where, host, 0))


def _through(where: Settings, host: str, depth: int) -> Connection | None:
    """The connection to the last jump host before a machine; None where it is reached directly."""
    if depth > _MOST_JUMPS:
        raise UnreachableError(f"ProxyJump leads in a circle at {where.alias}: give it `ProxyJump none`")
    before: Connection | None = None
    for name in where.jumps:
        hop, began = settings.jump(name), time.monotonic()
        # What lies before it is opened first: no lock is ever waited for while another one is held.
        before = before or _through(hop, host, depth + 1)
        with _lock_of(hop):
            before = _gateway(hop, host, began, before)
    return before


def _lock_of(hop: Settings) -> threading.Lock:
    with _gateway_locks_lock:
        return _gateway_locks.setdefault((hop.hostname, hop.user, hop.port), threading.Lock())


def _gateway(hop: Settings, host: str, began: float, before: Connection | None) -> Connection:
    """The one connection to a jump host; ``began``: when it was asked for."""
    key = (hop.hostname, hop.user, hop.port)
    found = _gateways.get(key)
    if found is not None and found.is_connected:
        return found
    tried, error = _silent.get(key, (0.0, None))
    if error is not None and tried >= began:
        raise UnreachableError(f"{host} is behind a jump host that others did not reach: {error}", error.next_command)
    try:
        _gateways[key] = _open(hop, host, before)
    except UnreachableError as error:
        _silent[key] = (time.monotonic(), error)
        raise
    return _gateways[key]


def _open(where: Settings, host: str, gateway: Connection | None) -> Connection:
    keys, check = Keys(where), _Check(where, host, host_keys.known(where))
    options: dict[str, Any] = {
        "auth_strategy": keys,
        "transport_factory": check.transport,
        # ConnectTimeout covers the handshake as well (ssh_config(5)).
        "banner_timeout": where.connect_timeout,
        "auth_timeout": 60.0,
        "channel_timeout": _CHANNEL_S,
    }
    if gateway is None and where.proxy_command:
        options["sock"] = proxy.start(where.proxy_command)
    line = Connection(
        host=where.hostname,
        user=where.user,
        port=where.port,
        gateway=gateway or False,
        connect_timeout=where.connect_timeout,
        connect_kwargs=options,
        # Nothing of SSH or fabric is read from files here: `ssh -G` has said everything.
        config=Config(ssh_config=SSHConfig(), lazy=True),
    )
    line.client.set_missing_host_key_policy(check)
    try:
        with _handshakes:
            line.open()
        _tune(line)
    except BaseException as error:
        readable = refusals.readable(error, where, host, keys, line.client.get_transport())
        with contextlib.suppress(Exception):
            line.client.close()
        raise readable from error
    return line


def _tune(line: Connection) -> None:
    """Set what makes small exchanges quick and a dead peer known."""
    line.transport.set_keepalive(_KEEPALIVE_S)
    sock = line.transport.sock
    if isinstance(sock, socket.socket) and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_MS)
