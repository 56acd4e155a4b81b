"""TCP ports on this host: a free one, or who holds the one that was asked for."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

from labctl.runner.failures import ServerError

# Of the kernel's tables (proc_net_tcp(5)), by the state LISTEN.
_TABLES = {socket.AF_INET: Path("/proc/net/tcp"), socket.AF_INET6: Path("/proc/net/tcp6")}
_LISTEN = "0A"


def check(address: str, port: int) -> None:
    """Raise ServerError unless ``port`` (0: any) can be bound at ``address``."""
    if not port:
        return
    try:
        _bind(address, port)
    except OSError as error:
        who = holder(port)
        held = f"; {who} listens there" if who else ""
        raise ServerError(f"port {port} at {address} cannot be had: {error.strerror or error}{held}") from error


def free(address: str) -> int:
    """A port that nobody holds at ``address`` now. Raises ServerError."""
    try:
        return _bind(address, 0)
    except OSError as error:
        raise ServerError(f"cannot listen at {address}: {error.strerror or error}") from error


def holder(port: int) -> str:
    """``NAME (pid N)`` of who listens on a port; "" where that cannot be seen (another user's process)."""
    try:
        import psutil
    except ImportError:
        return ""
    try:
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr[1:] == (port,) and one.pid:
                return f"{psutil.Process(one.pid).name()} (pid {one.pid})"
    except (psutil.Error, OSError):
        pass
    return ""


def listeners(address: str, port: int) -> set[int]:
    """Inodes of the sockets one of which takes a connection to a port at an address of this host; empty: nobody.

    As the kernel chooses: a socket at that very address comes before one that is bound everywhere. Raises OSError for
    an address that is none, and where there is no table of IPv4 (one of IPv6 may be switched off).
    """
    for family, *_, there in socket.getaddrinfo(address, port, type=socket.SOCK_STREAM):
        rows, own = _listening(family, port), str(there[0]).partition("%")[0]
        for at in (own, f"::ffff:{own}", "0.0.0.0", "::"):  # noqa: S104 - read, not bound
            if at in rows:
                return rows[at]
    return set()


def _listening(family: int, port: int) -> dict[str, set[int]]:
    """{address: inodes} of the sockets that listen on a port and may take a connection of this family."""
    found: dict[str, set[int]] = {}
    # A socket of IPv6 may take IPv4 too.
    for one in {family, socket.AF_INET6}:
        with contextlib.suppress(*([FileNotFoundError] if one == socket.AF_INET6 else [])):
            for line in _TABLES[socket.AddressFamily(one)].read_text(encoding="ascii").splitlines()[1:]:
                local, state, inode = (line.split()[at] for at in (1, 3, 9))
                at, _, number = local.partition(":")
                if state == _LISTEN and int(number, 16) == port:
                    found.setdefault(_address(at), set()).add(int(inode))
    return found


def _address(text: str) -> str:
    """An address of the kernel's tables: hexadecimal words of 32 bits in the machine's byte order."""
    data = b"".join(struct.pack("=I", int(text[at : at + 8], 16)) for at in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(text) == 8 else socket.AF_INET6, data)  # noqa: PLR2004 - one word


def _bind(address: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As vLLM binds (create_server_socket in vllm/entrypoints/launchers/launcher.py, 0.32.0).
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))
        return int(probe.getsockname()[1])
