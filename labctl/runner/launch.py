"""Starts a run's supervisor so that it outlives whoever asked for it: detached, or as a unit of systemd."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from labctl.runner import rundir, supervisor, unit

if TYPE_CHECKING:
    from pathlib import Path


def start(run_dir: Path) -> int:
    """Detach and supervise; a kept server as a unit of systemd where that can be. Returns 0 once record.json stands."""
    name, why = unit.wanted(run_dir), None
    if name is not None:
        try:
            return _told(unit.start(run_dir, name))
        except unit.UnavailableError as error:
            why = str(error)
    return _detach(run_dir, {} if why is None else {"unit": None, "why": why})


def as_unit(run_dir: Path, name: str) -> int:
    """Supervise as the main process of a unit, which ``unit.start`` started."""
    unit.take_environment(run_dir)
    _detached(run_dir, os.open(run_dir / unit.SAID, os.O_WRONLY | os.O_CREAT, 0o640), {"unit": name, "why": None})
    return 0


def _told(said: str) -> int:
    if said == "started":
        return 0
    sys.stderr.write(f"{said or 'the supervisor died at its start; see logs/runner.log'}\n")
    return 1


def _detach(run_dir: Path, by: dict[str, str | None]) -> int:
    """By a double fork, setsid, and descriptors redirected; ``by`` goes into the record's supervisor."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader) as pipe:
            return _told(pipe.read())
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(reader)
    _detached(run_dir, writer, by)
    os._exit(0)


def _detached(run_dir: Path, writer: int, by: dict[str, str | None]) -> None:
    try:
        _claim(run_dir)
        (run_dir / "logs").mkdir(exist_ok=True)
        log = os.open(run_dir / rundir.RUNNER_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        for number, target in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
            os.dup2(target, number)
        run = supervisor.Supervisor(run_dir, by)
        run.record.write(run_dir)
        (run_dir / rundir.RESERVE).write_bytes(b"\0" * supervisor.RESERVE_BYTES)
    except Exception as error:  # noqa: BLE001 - the caller waits at the pipe: it must hear of anything
        os.write(writer, f"cannot start the run: {error}".encode())
        return
    os.write(writer, b"started")
    os.close(writer)
    run.supervise()


def _claim(run_dir: Path) -> None:
    """Refuse a directory in which a run was started before: two runs in one would seal each other's files."""
    try:
        os.close(os.open(run_dir / rundir.STARTED, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        raise RuntimeError("a run was started in this directory already") from None
