"""Watches one run from the laptop: mirrors it while it goes on, brings the sealed run home, outlasts a cut line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from labctl import runs, transfer
from labctl.errors import LaunchError, UnreachableError, UnreadableRunError
from labctl.runner import events, phases, record, rundir

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from labctl.inventory import Host
    from labctl.launchers import Launcher
    from labctl.runner.spec import RunSpec
    from labctl.sessions import Session

T = TypeVar("T")


class Line(NamedTuple):
    """The open line to a host, and the run there that it is about."""

    host: Host
    session: Session
    launcher: Launcher
    remote_dir: str = ""
    path: Path = Path()


# How long a host may be silent before we stop asking; the run there goes on all the same.
PATIENCE_S = 60.0
_RETRY_S = 1.0
SILENT = "no answer, trying again"
# Mirroring and asking whether the supervisor lives cost more than waiting for one file.
_MIRROR_EVERY = 2.0
ALIVE_EVERY = 15.0


class Persistence:
    """Does something over a session again and again while the line is cut, for up to ``patience`` seconds."""

    def __init__(self, session: Session, patience: float, waiting: Callable[[], None]) -> None:
        """``waiting`` is called before each new try."""
        self._session, self._patience, self._waiting = session, patience, waiting
        self._since: float | None = None

    def alive(self) -> None:
        """The host answered: patience starts anew."""
        self._since = None

    def __call__(self, action: Callable[[], T]) -> T:
        """Raises UnreachableError once patience is at its end, and whatever else ``action`` raises."""
        while True:
            try:
                if self._since is not None:
                    self._session.reopen()
                done = action()
            except UnreachableError:
                now = time.monotonic()
                self._since = now if self._since is None else self._since
                if now - self._since > self._patience:
                    raise
                self._waiting()
                time.sleep(_RETRY_S)
            else:
                self.alive()
                return done


def launch(where: Line, asked: RunSpec, persist: Persistence, secrets: Mapping[str, str] | None = None) -> None:
    """Start a run exactly once, however often the line is cut meanwhile. Raises what Launcher.launch raises."""
    again = False

    def once() -> None:
        nonlocal again
        if again and started(where):
            return
        repeated, again = again, True
        try:
            where.launcher.launch(asked, where.path.name, secrets)
        except LaunchError:
            # The start before this one was slow, not lost.
            if not (repeated and started(where)):
                raise

    persist(once)


def started(where: Line, seconds: float = 0) -> bool:
    """Whether a run was ever started in the directory: its supervisor leaves this mark first."""
    return where.session.wait(f"{where.remote_dir}/{rundir.STARTED}", seconds)


def follow(where: Line, show: Callable[[str], None], patience: float = PATIENCE_S) -> record.RunRecord:
    """Wait for the end of a run, mirroring it; ``show`` gets what it does now. Returns the record.

    Raises UnreachableError once the host was silent for ``patience`` seconds, TransferError, UnreadableRunError;
    what ``show`` raises passes and ends nothing on the host.
    """
    until(where, show, lambda _: False, patience)
    return runs.load(where.path).record


def until(
    where: Line,
    show: Callable[[str], None],
    enough: Callable[[list[dict[str, Any]]], bool],
    patience: float = PATIENCE_S,
) -> bool:
    """As ``follow``, but no longer than until the run's events are ``enough``: then True, where it ended False."""
    persist = Persistence(where.session, patience, lambda: show(SILENT))

    def watch() -> bool:
        # Soon after coming (back) to a run, then now and then.
        asked = time.monotonic() - ALIVE_EVERY + _MIRROR_EVERY
        while rundir.SUMS not in transfer.mirror(where.session, where.remote_dir, where.path):
            persist.alive()
            if time.monotonic() - asked > ALIVE_EVERY:
                # A supervisor that was killed cannot say so: the host is asked, and seals the run as lost.
                where.launcher.control(where.path.name, "seal")
                asked = time.monotonic()
            told = events.read(where.path)
            if enough(told):
                return True
            show(_doing(where.path, told))
            where.session.wait(f"{where.remote_dir}/{rundir.SUMS}", _MIRROR_EVERY)
        persist.alive()
        transfer.fetch(where.session, where.remote_dir, where.path)
        return False

    return persist(watch)


def _doing(path: Path, told: list[dict[str, Any]]) -> str:
    """What a run does now; an engine that starts says how far it is."""
    phase = events.open_phase(told)
    if phase == "engine":
        return phases.where_it_died(phases.timeline(path))
    return phase or ("ending" if told else "starting")


def status(session: Session, remote_dir: str) -> str:
    """The status in the host's record. Raises UnreadableRunError where there is none."""
    data = session.read(f"{remote_dir}/{rundir.RECORD}")
    try:
        found: dict[str, Any] = json.loads(data or b"")
        return str(found["status"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UnreadableRunError(f"the host has no readable record in {remote_dir}") from None
