"""The runs that a host holds, whoever started them."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from labctl import runs
from labctl.errors import LabError, UnreachableError
from labctl.runner import rundir
from labctl.sessions import Want

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labctl.inventory import Host
    from labctl.launchers import Launcher
    from labctl.sessions import Session

# Of one record; the newest so many runs are listed.
_RECORD_BYTES = 1024 * 1024
_MOST = 500


def listing(session: Session, start: Launcher, host: Host) -> list[dict[str, Any]]:
    """One row a run, newest last, as ``runs.listing`` gives them. Raises UnreachableError, TransferError.

    A run that says ``running`` is asked after: one whose supervisor is gone is sealed as lost by its host.
    """
    folder = f"{host.lab_dir}/runs"
    known = [name for name in session.names(folder) or [] if runs.is_id(name)][-_MOST:]
    found = _rows(session, folder, known)
    for name in [name for name, row in found.items() if row["status"] == "running"]:
        try:
            start.control(name, "seal")
        except UnreachableError:
            break  # each further question would take as long
        except LabError:
            continue  # a host without its environment can still be listed
        found |= _rows(session, folder, [name])
    return [{"run": name, "host": host.name, **row} for name, row in found.items()]


def with_record(session: Session, folder: str, names: list[str]) -> list[str]:
    """Those of the names that hold a run that was started."""
    return list(_rows(session, folder, names[-_MOST:]))


def _rows(session: Session, folder: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """{run id: its row} for those that have a record, in one exchange; one record in memory at a time."""
    rows: dict[str, dict[str, Any]] = {}

    @contextmanager
    def into(path: str) -> Iterator[BinaryIO]:
        data = io.BytesIO()
        yield data
        rows[path.partition("/")[0]] = runs.row_of(data.getvalue().decode(errors="replace"))

    wanted = [Want(f"{name}/{rundir.RECORD}", limit=_RECORD_BYTES) for name in names]
    if wanted:
        session.bring(folder, wanted, into)
    return rows
