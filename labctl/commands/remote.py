"""What the verbs that go to a host share: the line to a run, following it, and the errors of a line that was cut."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from labctl.commands.options import project, run_path, say
from labctl.errors import EXIT_DETACHED, RunGoneError, TransferError, UnreachableError, UnreadableRunError
from labctl.follow import Line, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from labctl.commands.board import Board
    from labctl.fleet import Leave
    from labctl.inventory import Host
    from labctl.sessions import Session

T = TypeVar("T")

# A start takes a Python's start; on a host under load that can be many seconds.
_START_S = 20.0

# Matplotlib is not made for several threads at once.
_reports = threading.Lock()


def known_run(name: str | None, host: str | None) -> tuple[Host, Path | None]:
    """The host of a run, and its directory here; None for a run of ``host`` that is not here yet.

    Raises UnreadableRunError for a run of no known host, HostUnknownError.
    """
    from labctl import runs

    place = project()
    if host is None:
        path = run_path(name)
        origin = runs.origin(path)
        if not origin.get("host") or not origin.get("remote_dir"):
            raise UnreadableRunError(f"{path.name} does not say on which host it ran")
        return place.host(str(origin["host"])), path
    path = place.runs_dir / str(name)
    return place.host(host), path if name and runs.origin(path).get("host") == host else None


@contextmanager
def line_to(name: str | None, host: str | None = None) -> Iterator[Line]:
    """Open the line to a run's host; a run that is not here yet is looked for there and gets its directory here.

    Raises UnreachableError (and notes the run as lost), HostKeyError, UnreadableRunError, HostUnknownError.
    """
    from labctl import api_keys, runs
    from labctl.launchers import launcher
    from labctl.sessions import open_session

    target, path = known_run(name, host)
    with telling(path), open_session(target) as session:
        path = path or _adopt(session, target, name)
        remote_dir = str(runs.origin(path)["remote_dir"])
        # The run lies where it was started, wherever the inventory says today that new ones go.
        target = replace(target, lab_dir=remote_dir.removesuffix(f"/runs/{path.name}"))
        where = Line(target, session, launcher(runs.asked_launcher(path), target, session), remote_dir, path)
        _need_start(where)
        try:
            yield where
        finally:
            # A kept server's run may have come home sealed: its key opens nothing any more.
            place = project()
            api_keys.sweep(place.folder, place.runs_dir)


def _need_start(where: Line) -> None:
    """Raise UnreadableRunError for a run of which nothing has come yet and nothing ever will."""
    from labctl import fates
    from labctl.runner import rundir

    if (where.path / rundir.RECORD).is_file() or started(where):
        return
    # With its spec there, a start may be under way: it gets a while.
    if where.session.wait(f"{where.remote_dir}/{rundir.SPEC}", 0) and started(where, _START_S):
        return
    fates.mark(where.path, "not started", "labctl or the line ended before it was started")
    raise UnreadableRunError(f"{where.path.name} was never started on {where.host.name}", _anew(where.path))


def _adopt(session: Session, target: Host, name: str | None) -> Path:
    """Make the directory here of a run that was started from elsewhere. Raises UnreadableRunError, TransferError."""
    from labctl import host_runs, runs
    from labctl.runner import rundir, spec

    folder = f"{target.lab_dir}/runs"
    # A name that is no run id could lead out of the runs folder here. The newest one is the newest with a record.
    known = [one for one in session.names(folder) or [] if runs.is_id(one)]
    if name is None:
        known = host_runs.with_record(session, folder, known)
    ask = f"labctl runs --host {target.name}"
    run_id = runs.choose(known, name, f"{target.name}:{folder}", ask)
    runs_dir = project().runs_dir
    if runs.is_run(runs_dir / run_id):
        whose = runs.origin(runs_dir / run_id).get("host")
        if whose != target.name:
            what = f"{run_id} on {target.name} has the id of a run of {whose or 'another host'} that is here already"
            raise UnreadableRunError(f"{what}: move {runs_dir / run_id} elsewhere to fetch it")
        return runs_dir / run_id
    text = session.read(f"{folder}/{run_id}/{rundir.SPEC}", limit=1024 * 1024)
    try:
        asked = spec.from_json((text or b"").decode())
    except (spec.SpecError, UnicodeDecodeError) as error:
        raise UnreadableRunError(f"{run_id} on {target.name} has no readable {rundir.SPEC}: {error}") from error
    return runs.create(runs_dir, run_id, target.name, f"{folder}/{run_id}", asked)


@contextmanager
def telling(path: Path | None) -> Iterator[None]:
    """Give errors on the way the command that carries on; a host that is silent, or no longer has it, loses a run."""
    try:
        yield
    except UnreachableError as error:
        if path is None or error.next_command == _again(path):
            raise
        kept = _lose(path, str(error))
        what = f"{error}. The run goes on there if the host does{kept}"
        raise UnreachableError(what, _again(path)) from error
    except RunGoneError as error:
        if path is None or error.next_command:
            raise
        # To attach again would ask for the same folder again.
        kept = _lose(path, str(error), gone=True)
        raise RunGoneError(f"{error}: {path.name} is lost{kept}", _anew(path)) from error
    except TransferError as error:
        if path is not None and path.exists() and not error.next_command:
            error.next_command = _again(path)
        raise


def _again(path: Path) -> str:
    return f"labctl attach {path.name}"


def _anew(path: Path) -> str:
    from labctl import runs
    from labctl.runner import rundir

    return f"labctl run {path / rundir.SPEC} --host {runs.origin(path).get('host')}"


def _lose(path: Path, why: str, *, gone: bool = False) -> str:
    """Note the run as lost and build the report from what had been mirrored; says what is kept."""
    from labctl import fates
    from labctl.runner import rundir

    if (path / rundir.SUMS).is_file():
        return ""
    fates.mark(path, "lost", why, gone=gone)
    if not (path / rundir.RECORD).is_file():
        return "; nothing had arrived yet"
    return f"; what had arrived is kept as a lost run: {page_of(path)}"


def accompany(where: Line, board: Board, leave: Leave, patience: float) -> None:
    """Follow a run to its end, fetch it and build its report, telling the board; LeftError where the user leaves."""
    from labctl import follow

    def show(phase: str) -> None:
        leave.check()
        board.state(where.host.name, phase)

    board.run(where.host.name, where.path.name)
    with telling(where.path):
        record = follow.follow(where, show, patience)
    board.state(where.host.name, "making the report")
    page_of(where.path)
    board.done(where.host.name, record.status)


def shown(target: Host, action: Callable[[Board, Leave], T], *, hint: bool = False) -> T:
    """Do something with one host while a live line says what; raises what ``action`` raises."""
    from labctl import fleet
    from labctl.commands.board import Board

    def watched(_target: Host, leave: Leave) -> T:
        with board.watching(target.name):
            return action(board, leave)

    board = Board([target])
    if hint:
        board.hint()
    with board:
        [outcome] = fleet.each([target], watched, board.tick)
    return outcome.result()


def warm() -> None:
    """Import the plotting library meanwhile: it takes a second, a run takes longer, so this costs nobody anything."""
    from labctl.report import page

    threading.Thread(target=page.warm, daemon=True).start()


def page_of(path: Path) -> Path:
    """Build the report of a run and give its page. Raises UnreadableRunError where it cannot be written."""
    from labctl import runs
    from labctl.report import page

    runs.load(path)
    try:
        with _reports:
            return page.build(path)
    except OSError as error:
        raise UnreadableRunError(f"the report of {path.name} cannot be written: {error}") from error


def detached(paths: list[Path]) -> int:
    """Say how to come back to runs that were left; gives the exit code."""
    from labctl.runner import rundir

    ended = [path for path in paths if (path / rundir.SUMS).is_file()]
    going = [path for path in paths if path not in ended]
    if going:
        say("detached; " + ("the run goes on." if len(going) == 1 else "the runs go on.") + " To see it again:")
    elif not ended:
        say("interrupted before anything was started")
    for path in going:
        say(f"  labctl attach {path.name}")
    for path in ended:
        say(f"{path.name} has ended and is here:\n  labctl report {path.name}")
    return EXIT_DETACHED
