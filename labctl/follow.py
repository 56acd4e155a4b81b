"""Watches one run from the laptop: mirrors it while it goes on, and brings the sealed run home."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from labctl import runs
from labctl.errors import UnreadableRunError
from labctl.runner import events, record, rundir

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labctl.launchers import Launcher
    from labctl.sessions import Session

_POLL = 0.2
# Mirroring and asking whether the supervisor lives cost more than a look at one file.
_MIRROR_EVERY = 2.0
ALIVE_EVERY = 15.0


def follow(
    session: Session, start: Launcher, remote_dir: str, path: Path, show: Callable[[str, float], None]
) -> record.RunRecord:
    """Wait for the end of a run, mirroring it; ``show`` gets (phase, seconds so far). Returns the record.

    Raises UnreachableError, TransferError, UnreadableRunError; KeyboardInterrupt passes and ends nothing.
    """
    began = mirrored = asked = time.monotonic()
    while True:
        now = time.monotonic()
        if session.read(f"{remote_dir}/{rundir.SUMS}") is not None:
            break
        if now - mirrored > _MIRROR_EVERY:
            runs.mirror(session, remote_dir, path)
            mirrored = time.monotonic()
        if now - asked > ALIVE_EVERY:
            # A supervisor that was killed cannot say so: the host is asked, and seals the run as lost.
            start.control(path.name, "seal")
            asked = time.monotonic()
        told = events.read(path)
        show(events.open_phase(told) or ("ending" if told else "starting"), now - began)
        time.sleep(_POLL)
    runs.fetch(session, remote_dir, path)
    return runs.load(path).record


def status(session: Session, remote_dir: str) -> str:
    """The status in the host's record. Raises UnreadableRunError where there is none."""
    data = session.read(f"{remote_dir}/{rundir.RECORD}")
    try:
        found: dict[str, Any] = json.loads(data or b"")
        return str(found["status"])
    except (ValueError, KeyError, TypeError):
        raise UnreadableRunError(f"the host has no readable record in {remote_dir}") from None
