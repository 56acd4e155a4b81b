"""Starts a run detached from whoever asked for it, watches it, and seals what it left."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from typing import TYPE_CHECKING

from labctl.runner import clock, ending, locks, logpump, machine, processes, rundir, spec
from labctl.runner.record import RunRecord
from labctl.runner.redact import Redactor

if TYPE_CHECKING:
    from pathlib import Path

# What the reserve keeps free: enough for the record and the manifest of any run.
RESERVE_BYTES = 2 * 1024 * 1024
_STOP_GRACE = 15.0


def start(run_dir: Path) -> int:
    """Detach (double fork, setsid, descriptors redirected) and supervise. Returns 0 once record.json stands."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader) as pipe:
            said = pipe.read()
        if said == "started":
            return 0
        sys.stderr.write(said or "the supervisor died at its start; see logs/runner.log\n")
        return 1
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(reader)
    _detached(run_dir, writer)
    os._exit(0)


def _detached(run_dir: Path, writer: int) -> None:
    try:
        _claim(run_dir)
        (run_dir / "logs").mkdir(exist_ok=True)
        log = os.open(run_dir / rundir.RUNNER_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        for number, target in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
            os.dup2(target, number)
        run = Supervisor(run_dir)
        run.record.write(run_dir)
        (run_dir / rundir.RESERVE).write_bytes(b"\0" * RESERVE_BYTES)
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


class Supervisor:
    """One run, from its first record to its seal."""

    def __init__(self, run_dir: Path) -> None:
        """Prepare the record of the run in ``run_dir``. Raises OSError where spec.json cannot be read."""
        self.run_dir = run_dir
        self.lab_dir = run_dir.parent.parent
        self.redact = Redactor(os.environ, self._secrets())
        anchor = clock.anchor()
        self.zero = float(anchor["monotonic"])
        self.oom_before = processes.oom_kills()
        self.stopping = False
        self.record = RunRecord(
            run_id=run_dir.name,
            status="running",
            spec_sha256=rundir.sha256(run_dir / rundir.SPEC),
            anchor=anchor,
            supervisor={
                "pid": os.getpid(),
                "start_ticks": processes.start_ticks(os.getpid()),
                "boot_id": processes.boot_id(),
                "runner_version": _runner_version(),
            },
        )

    def _secrets(self) -> dict[str, str]:
        """Take secrets (HF_TOKEN, ...) from their 0600 file beside the runs into the environment; delete it."""
        path = self.lab_dir / "secrets" / f"{self.run_dir.name}.json"
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
            path.unlink()
            os.environ.update(found)
            return found
        return {}

    def supervise(self) -> None:
        """Run to the end and seal; whatever goes wrong here is the record's error, never a traceback lost."""
        signal.signal(signal.SIGTERM, self._stop)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        processes.adopt_orphans()
        outcome = ending.Outcome()
        try:
            outcome = self._run()
        except locks.BusyError as error:
            outcome = ending.Outcome(error={"kind": "busy", "phase": "lock", "message": str(error)})
        except spec.SpecError as error:
            outcome = ending.Outcome(error={"kind": "spec", "phase": "spec", "message": str(error)})
        except Exception as error:  # noqa: BLE001 - recorded with its traceback
            with contextlib.suppress(OSError):
                traceback.print_exc()
            kind = "disk_full" if ending.is_disk_full(error) else "internal"
            outcome = ending.Outcome(error={"kind": kind, "phase": "supervisor", "message": str(error)})
        (self.run_dir / rundir.RESERVE).unlink(missing_ok=True)
        outcome.stopped = self.stopping
        ending.finish(self.run_dir, self.record, outcome, ended=clock.since(self.zero))

    def _stop(self, _number: int, _frame: object) -> None:
        self.stopping = True

    def _run(self) -> ending.Outcome:
        asked = spec.from_json((self.run_dir / rundir.SPEC).read_text(encoding="utf-8"))
        ending.sweep(self.run_dir)
        environment = machine.environment(self.run_dir, self.lab_dir, asked)
        (self.lab_dir / "tmp").mkdir(exist_ok=True)
        holder = {"run_id": self.record.run_id, "pid": os.getpid(), "since": self.record.anchor["utc"]}
        held = locks.take(self.lab_dir / "locks", locks.devices(environment), holder)
        self.record.nodes = [machine.before(self.run_dir, self.lab_dir, asked)]
        # Once more before the engine starts, so that a run that is lost still says on what machine it was.
        self.record.write(self.run_dir)
        worker = self._spawn("worker", asked, held)
        more = str(worker.pid), str(asked.sample_hz)
        sampler = self._spawn("sampler", asked, [], *more) if asked.sample_hz else None
        try:
            full = self._watch(worker)
        finally:
            if sampler:
                sampler.terminate()
                sampler.wait(timeout=30)
            processes.end_run(self.run_dir)
        machine.after(self.run_dir)
        machine.clear_sockets(self.lab_dir / "tmp")
        grew = (processes.oom_kills() or 0) - (self.oom_before or 0)
        return ending.Outcome(code=worker.returncode, oom_kills=grew, disk_full=full)

    def _spawn(self, part: str, asked: spec.RunSpec, keep: list[int], *more: str) -> subprocess.Popen[bytes]:
        # -u: what is printed is stamped when it is printed (-I makes Python ignore PYTHONUNBUFFERED).
        module = f"labctl.runner.{part}"
        command = [sys.executable, "-I", "-u", "-m", module, str(self.run_dir), str(self.zero), *more]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if part == "worker" else None,
            stderr=subprocess.STDOUT if part == "worker" else None,
            start_new_session=True,
            pass_fds=keep,
            env=machine.environment(self.run_dir, self.lab_dir, asked),
        )

    def _watch(self, worker: subprocess.Popen[bytes]) -> bool:
        """Pump the worker's output until it and its children are done. Returns whether the disk filled up."""
        assert worker.stdout is not None  # noqa: S101 - opened as a pipe above
        with logpump.LogPump(self.run_dir / rundir.ENGINE_LOG, worker.stdout, self.zero, self.redact) as pump:
            deadline: float | None = None
            ended = False
            while pump.step(timeout=0.2):
                if self.stopping and deadline is None:
                    deadline = time.monotonic() + _STOP_GRACE
                    worker.terminate()
                if worker.poll() is not None and not ended:
                    # Its children may still be writing their last lines; they get a moment, not for ever.
                    ended = True
                    deadline = min(deadline or float("inf"), time.monotonic() + 3.0)
                if deadline is not None and time.monotonic() > deadline:
                    break
            # The worker ended and its pipe is closed, or the deadline passed: nothing of it may stay behind.
            processes.end_run(self.run_dir, grace=1.0)
            while pump.step(timeout=0.0):
                pass
        worker.wait(timeout=30)
        return pump.disk_full


def _runner_version() -> str:
    try:
        return importlib.metadata.version("labctl-runner")
    except importlib.metadata.PackageNotFoundError:
        from labctl import __version__

        return f"{__version__}+checkout"
