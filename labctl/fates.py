"""What the laptop knows of a run that its host cannot say any more: lost, or never started."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from labctl.errors import TransferError
from labctl.runner import ending, events, rundir

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner.record import RunRecord

NAME = "local/fate.json"


def mark(path: Path, status: str, why: str, *, gone: bool = False) -> None:
    """Note that a run is ``lost`` (its host is silent, or ``gone``: has it no more) or ``not started``.

    Raises TransferError.
    """
    said = {"status": status, "why": why, "utc": datetime.now(UTC).isoformat(timespec="seconds"), "gone": gone}
    try:
        (path / NAME).parent.mkdir(exist_ok=True)
        rundir.write_atomic(path / NAME, (json.dumps(said) + "\n").encode())
    except OSError as error:
        raise TransferError(f"cannot write {path / NAME}: {error.strerror or error}") from error


def noted(path: Path) -> dict[str, Any]:
    """{"status", "why", "utc", "gone"} of a run that ``mark`` noted and no fetch has contradicted; else empty."""
    return {} if (path / rundir.SUMS).is_file() else note(path / NAME)


def as_known(path: Path, told: RunRecord) -> RunRecord:
    """The record as mirrored; of a run whose host vanished what can be said of it, from the files that are here."""
    known = noted(path)
    if told.status != "running" or known.get("status") != "lost":
        return told
    rows = events.read(path)
    why = f"{known.get('why')} (noted {known.get('utc')})"
    error = {"kind": "vanished", "phase": events.open_phase(rows) or "start", "message": why}
    made = dataclasses.replace(told, status="lost", error=error)
    made.model, made.engine = ending.last(rows, "model"), ending.last(rows, "engine")
    # What a host sent need not make sense; its listing stands all the same.
    with contextlib.suppress(Exception):
        ending.compute(path, made)
    made.artifacts = rundir.artifacts(path)
    return made


def note(path: Path) -> dict[str, Any]:
    """A small file of ours as a dict; empty where it is missing or broken."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
