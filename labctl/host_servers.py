"""The kept servers that a host has, whoever started them."""

from __future__ import annotations

import io
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from labctl import runs, servers
from labctl.errors import LabError, UnreachableError
from labctl.runner import events, locks, rundir
from labctl.sessions import Want

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labctl.inventory import Host
    from labctl.launchers import Launcher
    from labctl.sessions import Session

# Of each file that says what a server is; a host is not trusted with the laptop's memory.
_BYTES = 4 * 1024 * 1024
_LOCK_BYTES = 4096
_MOST_NAMES = 1000  # a name that was used once has its lock for good
_TAIL = 4096
# Servers of one host that are looked at, the newest, and seconds after which no further one of them is sealed.
_MOST = 64
_SEALS_S = 15.0


def look(session: Session, host: str, remote_dir: str) -> servers.Kept | None:
    """A kept server as its host has it now, in one exchange; None where there is no such run."""
    folder, _, name = remote_dir.rpartition("/")
    return _read(session, host, folder, [name]).get(name)


def on_host(session: Session, start: Launcher, host: Host) -> list[servers.Kept]:
    """Every kept server that runs there, whoever started it. Raises UnreachableError, TransferError.

    One whose supervisor is gone is sealed as lost by its host first.
    """
    folder = f"{host.lab_dir}/runs"
    holders = _holders(session, f"{host.lab_dir}/locks")
    going = [name for name, kept in _read(session, host.name, folder, holders).items() if kept.state != servers.ENDED]
    deadline = time.monotonic() + _SEALS_S
    for name in going:
        if time.monotonic() > deadline:
            break  # they are shown as their runs tell
        try:
            start.control(name, "seal")
        except UnreachableError:
            raise
        except LabError:
            continue  # a host without its environment can still be asked
    found = _read(session, host.name, folder, going).values()
    return sorted((kept for kept in found if kept.state != servers.ENDED), key=lambda kept: kept.run)


def _holders(session: Session, folder: str) -> list[str]:
    """Ids of the runs that hold, or held last, the name of a server there."""
    prefix = locks.file_of(locks.SERVER).removesuffix(".lock")
    files = [name for name in session.names(folder) or [] if name.startswith(prefix) and name.endswith(".lock")]
    texts = _texts(session, folder, [Want(name, limit=_LOCK_BYTES) for name in files[:_MOST_NAMES]])
    ids = {str(events.lenient(data.decode(errors="replace")).get("run_id")) for data in texts.values()}
    return sorted(one for one in ids if runs.is_id(one))[-_MOST:]


def _read(session: Session, host: str, folder: str, names: list[str]) -> dict[str, servers.Kept]:
    """{run id: its server} of those that keep one, in one exchange."""
    files = (rundir.SPEC, rundir.RECORD, rundir.EVENTS)
    texts = _texts(session, folder, [Want(f"{name}/{file}", limit=_BYTES) for name in names for file in files])
    found = {}
    for name in names:
        kept = servers.read(host, f"{folder}/{name}", {file: texts.get(f"{name}/{file}", b"") for file in files})
        if kept is not None:
            found[name] = kept
    return found


def _texts(session: Session, folder: str, wanted: list[Want]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}

    @contextmanager
    def into(name: str) -> Iterator[BinaryIO]:
        data = io.BytesIO()
        yield data
        # A file that is asked for twice, for two parts of it, is put together.
        found[name] = found.get(name, b"") + data.getvalue()

    if wanted:
        session.bring(folder, wanted, into)
    return found


def gpu_memory(session: Session, kept: servers.Kept) -> int | None:
    """Bytes used on the host's GPUs at the last sample; None where there are none."""
    size = next((one.size for one in session.walk(kept.remote_dir) or [] if one.path == rundir.SAMPLES), 0)
    wanted = [Want(rundir.SAMPLES, limit=min(size, _TAIL)), Want(rundir.SAMPLES, max(_TAIL, size - _TAIL), _TAIL)]
    data = _texts(session, kept.remote_dir, wanted if size > _TAIL else wanted[:1]).get(rundir.SAMPLES, b"")
    return servers.last_gpu_memory(data.decode(errors="replace"))
