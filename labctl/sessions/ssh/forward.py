"""A tunnel through the connection to a host: each connection to a local port becomes a channel of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paramiko.ssh_exception import ChannelException, SSHException

from labctl.errors import LabError, ServerError, UnreachableError

if TYPE_CHECKING:
    from fabric import Connection

# RFC 4254, 5.1.
_PROHIBITED, _CONNECT_FAILED = 1, 2
# paramiko itself would wait for an hour.
_OPEN_S = 10.0
# What the channel says where its connection came from; nobody looks at it.
_FROM = ("127.0.0.1", 0)


def channel(line: Connection, target: tuple[str, int]) -> Any:
    """Open a channel to (address, port) as the host sees it. Raises OSError."""
    try:
        return line.transport.open_channel("direct-tcpip", target, _FROM, timeout=_OPEN_S)
    except (SSHException, EOFError) as error:
        raise OSError(str(error) or type(error).__name__) from error


def check(line: Connection, host: str, target: tuple[str, int]) -> None:
    """Raise what is wrong where nothing can be reached through a tunnel: ServerError, UnreachableError."""
    try:
        line.transport.open_channel("direct-tcpip", target, _FROM, timeout=_OPEN_S).close()
    except ChannelException as error:
        raise _refusal(error, host, target) from error
    except (SSHException, OSError, EOFError) as error:
        raise UnreachableError(f"the line to {host} was lost: {str(error) or type(error).__name__}") from error


def _refusal(error: ChannelException, host: str, target: tuple[str, int]) -> LabError:
    address, port = target
    if error.code == _PROHIBITED:
        return UnreachableError(f"sshd on {host} forbids tunnels: it wants `AllowTcpForwarding yes`")
    if error.code == _CONNECT_FAILED:
        return ServerError(f"nothing answers at {address}:{port} on {host}: {error.text or 'refused'}")
    return UnreachableError(f"{host} opens no tunnel to {address}:{port}: {error.text or error.code}")
