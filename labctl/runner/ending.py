"""How a run ends: sealed by its supervisor, stopped, or found dead later and sealed as lost."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labctl.runner import events, figures, phases, processes, record, rundir, sealing

if TYPE_CHECKING:
    from pathlib import Path

_TAIL = 25
_SECRET_AGE = 3600.0
# Triton's bindings list dozens of what they leaked when a Python process ends: they would be all of the last lines.
_NOISE = re.compile(r" *\d+\.\d+ +(- (leaked (type|function|instance)|\.\.\. skipped remainder)|nanobind: )")


@dataclass
class Outcome:
    """What the supervisor saw: the worker's exit code (negative: the signal), or an error of its own.

    ``why`` a run was stopped.
    """

    code: int | None = None
    error: dict[str, Any] | None = None
    oom_kills: int = 0
    disk_full: bool = False
    stopped: bool = False
    why: str = "stopped on request"


def is_disk_full(error: BaseException) -> bool:
    """Whether an exception says that the disk (or the quota) is full."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def finish(run_dir: Path, run: record.RunRecord, outcome: Outcome, ended: float | None) -> None:
    """Complete the record from the raw files, write it, and seal the directory."""
    rows = events.read(run_dir)
    run.ended_s = ended
    run.model = last(rows, "model")
    run.engine = last(rows, "engine")
    run.error = outcome.error or judge(run_dir, outcome)
    if outcome.stopped:
        where = events.open_phase(rows) or events.last_phase(rows)
        run.error = {"kind": "stopped", "phase": where, "message": outcome.why}
    run.status = "stopped" if outcome.stopped else "failed" if run.error else "ok"
    complete(run_dir, run)


def complete(run_dir: Path, run: record.RunRecord) -> None:
    """Compute phases and figures, list the artifacts, write the record and SHA256SUMS."""
    try:
        compute(run_dir, run)
    except Exception:  # noqa: BLE001 - a figure that cannot be made must not cost the record
        with contextlib.suppress(OSError):
            traceback.print_exc()
    sealing.spare(run)
    sealing.seal(run_dir, run)


def compute(run_dir: Path, run: record.RunRecord) -> None:
    """Fill in what follows from the raw files: the end of the log, where it died, phases, figures."""
    if run.error is not None:
        run.error.setdefault("exit", None)
        run.error.setdefault("log_tail", log_tail(run_dir))
    run.phases = phases.timeline(run_dir)
    if run.error is not None and run.error.get("phase") == "engine":
        run.error["phase"] = phases.where_it_died(run.phases)
    run.metrics = figures.compute(run_dir)
    rate = run.metrics["sampler_rate"]
    for node in run.nodes[:1]:  # those of other hosts lie in their own runs
        node["samples"] = {"file": rundir.SAMPLES, "count": rate["n"], "hz": rate["value"]}


def last(rows: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """What the last event of this name told; None where there is none."""
    found = [row for row in rows if row["event"] == name]
    if not found:
        return None
    return {key: value for key, value in found[-1].items() if key not in {"t", "event", "line"}}


def judge(run_dir: Path, outcome: Outcome) -> dict[str, Any] | None:
    """The error of a run that nobody stopped, from what its worker said and how it ended; None where it went well."""
    rows = events.read(run_dir)
    said = last(rows, "error")
    where = events.open_phase(rows) or "start"
    if outcome.code == 0 and said is None and not outcome.disk_full:
        return None
    kind, message = (said["kind"], said["message"]) if said else ("crash", _exit_text(outcome.code))
    if outcome.oom_kills > 0 and kind in {"crash", "engine", "server"}:
        kind = "out_of_memory"
        message += f" (the kernel killed {outcome.oom_kills} process(es) for lack of memory meanwhile)"
    elif outcome.disk_full or kind == "disk_full":
        kind, message = "disk_full", f"the host's disk is full: {message}"
    elif kind in {"crash", "engine", "server"} and figures.memory_ran_out(run_dir):
        kind = "out_of_memory"
    return {"kind": kind, "phase": (said or {}).get("phase") or where, "message": message, "exit": outcome.code}


def _exit_text(code: int | None) -> str:
    if code is None:
        return "the worker never started"
    if code < 0:
        known = {number.value: f" ({number.name})" for number in signal.Signals}
        return f"the worker was killed by signal {-code}{known.get(-code, '')}"
    return f"the worker ended with exit status {code}"


def log_tail(run_dir: Path, lines: int = _TAIL) -> list[str]:
    """The last lines of the engine log (of the runner's own log where there is none), but for the noise of an exit."""
    for name in (rundir.ENGINE_LOG, rundir.RUNNER_LOG):
        path = run_dir / name
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as handle:
                handle.seek(max(0, path.stat().st_size - 64 * 1024))
                text = handle.read().decode("utf-8", errors="replace")
            return [line[:2000] for line in text.splitlines() if not _NOISE.match(line)][-lines:]
    return []


def seal_if_lost(run_dir: Path) -> int:
    """Seal a run that says ``running`` though its supervisor is gone (killed, rebooted). Exit status."""
    path = run_dir / rundir.RECORD
    if (run_dir / rundir.SUMS).is_file():
        return 0
    if not path.is_file():
        sys.stderr.write("the run never started there\n")
        return 1
    try:
        run = record.from_json(path.read_text(encoding="utf-8"))
    except (record.RecordError, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    who = run.supervisor
    if processes.alive(who.get("pid", 0), who.get("start_ticks", 0), who.get("boot_id", "")):
        return 0
    processes.end_run(run_dir)
    (run_dir / rundir.RESERVE).unlink(missing_ok=True)
    if run.status == "running":
        _lose(run_dir, run)
    # A run that ended but could not be sealed (a full disk) keeps what its supervisor said.
    complete(run_dir, run)
    return 0


def _lose(run_dir: Path, run: record.RunRecord) -> None:
    rows = events.read(run_dir)
    run.status = "lost"
    run.model, run.engine = last(rows, "model"), last(rows, "engine")
    rebooted = run.supervisor.get("boot_id") != processes.boot_id()
    why = "the host was rebooted" if rebooted else "its supervisor was killed"
    run.error = {"kind": "lost", "phase": events.open_phase(rows) or "start", "message": f"the run was lost: {why}"}


def sweep(run_dir: Path) -> None:
    """Seal every other dead run of this lab directory, so that no forgotten engine holds memory or a GPU.

    Secrets that no supervisor came to read (their labctl was killed, maybe while sending: .json.part) go too, after an
    hour.
    """
    for secret in (run_dir.parent.parent / "secrets").glob("*.json*"):
        with contextlib.suppress(OSError):
            if time.time() - secret.stat().st_mtime > _SECRET_AGE:
                secret.unlink()
    for other in run_dir.parent.iterdir():
        if other == run_dir or not other.is_dir():
            continue
        try:
            seal_if_lost(other)
        except Exception:  # noqa: BLE001 - an old run that cannot be sealed must not cost this one
            with contextlib.suppress(OSError):
                traceback.print_exc()


def stop(run_dir: Path) -> int:
    """Ask the supervisor to stop and wait until the run is sealed. Exit status 1 when it did not happen."""
    try:
        run = record.from_json((run_dir / rundir.RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        sys.stderr.write("the run never started there\n")
        return 1
    except (OSError, record.RecordError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    who = run.supervisor
    known = who.get("pid", 0), who.get("start_ticks", 0), who.get("boot_id", "")
    deadline = time.monotonic() + 40
    if processes.alive(*known):
        os.kill(known[0], signal.SIGTERM)
    while processes.alive(*known) and time.monotonic() < deadline:
        time.sleep(0.1)
    return seal_if_lost(run_dir) if not processes.alive(*known) else 1
