"""Watches a run from its first record to its end, and seals what it left."""

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

from labctl.runner import (
    clock,
    ending,
    joint,
    locks,
    logpump,
    machine,
    peer_line,
    processes,
    rundir,
    sealing,
    span_part,
    spec,
    workloads,
)
from labctl.runner.failures import SpanError
from labctl.runner.record import RunRecord
from labctl.runner.redact import Redactor

if TYPE_CHECKING:
    from pathlib import Path

# What the reserve keeps free: enough for the record and the manifest of any run.
RESERVE_BYTES = 2 * 1024 * 1024
_STOP_GRACE = 15.0
_SAMPLER_GRACE = 10.0
# How often it is noted which shared memory the engine holds: some ten milliseconds each time.
_LOOK_S = 10.0
# What refuses a run before its worker starts: {error: (kind, phase) in the record}.
_REFUSALS: dict[type[Exception], tuple[str, str]] = {
    locks.BusyError: ("busy", "lock"), spec.SpecError: ("spec", "spec"), SpanError: ("span", "span"),
    peer_line.PeerError: ("span", "span"),
}  # fmt: skip


class Supervisor:
    """One run, from its first record to its seal."""

    def __init__(self, run_dir: Path, by: dict[str, str | None]) -> None:
        """Prepare the record of the run in ``run_dir``. Raises OSError where spec.json cannot be read.

        ``by``: what the record says of a kept server's supervision, see ``launch``.
        """
        self.run_dir = run_dir
        self.lab_dir = run_dir.parent.parent
        self.redact = Redactor(os.environ, self._secrets())
        anchor = clock.anchor()
        self.zero = float(anchor["monotonic"])
        self.oom_before = processes.oom_kills()
        self.stopping = False
        self.joint: joint.Joint | None = None
        self.died: float | None = None
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
                **by,
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
        except tuple(_REFUSALS) as error:
            kind, phase = _REFUSALS[type(error)]
            outcome = ending.Outcome(error={"kind": kind, "phase": phase, "message": str(error)})
        except Exception as error:  # noqa: BLE001 - recorded with its traceback
            with contextlib.suppress(OSError):
                traceback.print_exc()
            kind = "disk_full" if ending.is_disk_full(error) else "internal"
            outcome = ending.Outcome(error={"kind": kind, "phase": "supervisor", "message": str(error)})
        (self.run_dir / rundir.RESERVE).unlink(missing_ok=True)
        outcome.stopped = outcome.stopped or self.stopping
        self._part(outcome)
        self._finish(outcome)

    def _finish(self, outcome: ending.Outcome) -> None:
        """Seal the run, barely where need be: nothing that came from outside may cost the seal."""
        try:
            ending.finish(self.run_dir, self.record, outcome, ended=clock.since(self.zero))
        except Exception as error:
            if ending.is_disk_full(error):  # whoever asks once there is room seals it, with all that it has
                raise
            with contextlib.suppress(OSError):
                traceback.print_exc()
            sealing.bare(self.run_dir, self.record, error)

    def _part(self, outcome: ending.Outcome) -> None:
        """Where this run is part of a span: end together with the others; never at the cost of the record."""
        if self.joint is None:
            return
        try:
            self.joint.settle(outcome, self.died)
            self.record.nodes = self.joint.nodes(self.record.nodes)
        except Exception:  # noqa: BLE001 - the run has ended all the same
            with contextlib.suppress(OSError):
                traceback.print_exc()

    def _stop(self, _number: int, _frame: object) -> None:
        self.stopping = True

    def _run(self) -> ending.Outcome:
        asked = spec.from_json((self.run_dir / rundir.SPEC).read_text(encoding="utf-8"))
        self.joint = joint.join(self.run_dir, asked.span, self.redact)
        ending.sweep(self.run_dir)
        environment = machine.environment(self.run_dir, self.lab_dir, asked)
        if asked.span:
            span_part.check(asked, asked.span, environment)
        (self.lab_dir / "tmp").mkdir(exist_ok=True)
        holder = {"run_id": self.record.run_id, "pid": os.getpid(), "since": self.record.anchor["utc"]}
        alone = workloads.takes_devices(asked.workload)
        names = [*(locks.devices(environment) if alone else []), *_names(asked)]
        held = locks.take(self.lab_dir / "locks", names, holder)
        self.record.nodes = [machine.before(self.run_dir, self.lab_dir, asked)]
        if self.joint:
            self.record.nodes += self.joint.gather(self.record.nodes[0], lambda: self.stopping)
            if self.stopping or self.joint.over():
                return ending.Outcome()
        # Once more before the engine starts, so that a run that is lost still says on what machine it was.
        self.record.write(self.run_dir)
        worker = self._spawn("worker", asked, held)
        more = str(worker.pid), str(asked.sample_hz)
        sampler = self._spawn("sampler", asked, [], *more) if asked.sample_hz else None
        try:
            full = self._watch(worker)
        finally:
            if sampler:
                _end(sampler)
            processes.end_run(self.run_dir)
        grew = (processes.oom_kills() or 0) - (self.oom_before or 0)
        outcome = ending.Outcome(code=worker.returncode, oom_kills=grew, disk_full=full, stopped=self.stopping)
        self._part(outcome)
        machine.after(self.run_dir)
        if alone:  # else a running server's sockets lie there
            machine.clear_sockets(self.lab_dir / "tmp")
        for handle in held:  # the engine is gone: whoever sees the sealed run may start the next one
            os.close(handle)
        return outcome

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
            shared: set[int] = set()
            look = time.monotonic()
            while pump.step(timeout=0.2):
                if time.monotonic() >= look:
                    # Known by then: of processes that are gone nobody can tell any more what they left behind.
                    shared |= processes.shared_memory(processes.of_run(self.run_dir))
                    look = time.monotonic() + _LOOK_S
                if deadline is None and (self.stopping or (self.joint and self.joint.over())):
                    deadline = time.monotonic() + _STOP_GRACE
                    worker.terminate()
                if worker.poll() is not None and not ended:
                    # Its children may still be writing their last lines; they get a moment, not for ever.
                    ended, self.died = True, time.monotonic()
                    deadline = min(deadline or float("inf"), time.monotonic() + 3.0)
                if deadline is not None and time.monotonic() > deadline:
                    break
            # The worker ended and its pipe is closed, or the deadline passed: nothing of it may stay behind.
            processes.end_run(self.run_dir, grace=1.0)
            processes.forget(shared)
            while pump.step(timeout=0.0):
                pass
        worker.wait(timeout=30)
        return pump.disk_full


def _end(sampler: subprocess.Popen[bytes]) -> None:
    """End the sampler; one that does not hear (stopped by a signal, stuck in a driver) must not cost the run."""
    sampler.terminate()
    try:
        sampler.wait(timeout=_SAMPLER_GRACE)
    except subprocess.TimeoutExpired:
        sampler.kill()


def _names(asked: spec.RunSpec) -> list[str]:
    """What a kept server holds beside its devices: no second one of its name runs in this lab."""
    if asked.workload.kind != "hold" or asked.server is None:
        return []
    return [locks.server(asked.server.name or asked.lab)]


def _runner_version() -> str:
    try:
        return importlib.metadata.version("labctl-runner")
    except importlib.metadata.PackageNotFoundError:
        from labctl import __version__

        return f"{__version__}+checkout"
