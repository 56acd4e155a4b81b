"""Where a run can be reached: the TCP sockets on which its processes listen."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import TYPE_CHECKING, Any

from labctl.runner import processes

if TYPE_CHECKING:
    from pathlib import Path


def of_run(run_dir: Path) -> list[dict[str, Any]]:
    """{"address", "port", "everywhere": on each address of the host} of a run's sockets, loopback left out.

    Empty without psutil.
    """
    try:
        import psutil
    except ImportError:
        return []
    found = set()
    for pid in processes.of_run(run_dir):
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            # Renamed in psutil 6.0; Debian 12 has 5.9.
            look = getattr(process, "net_connections", None) or process.connections
            for one in look("tcp"):
                if one.status == psutil.CONN_LISTEN:
                    found.add((one.laddr.port, _plain(one.laddr.ip)))
    rows = sorted((port, str(at), at.is_unspecified) for port, at in found if not at.is_loopback)
    return [{"address": at, "port": port, "everywhere": everywhere} for port, at, everywhere in rows]


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IPv4 address that was bound by an IPv6 socket is an IPv4 address."""
    found = ipaddress.ip_address(text)
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found
