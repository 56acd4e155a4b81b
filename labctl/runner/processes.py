"""Facts about Linux processes, from /proc, and how to end them. Standard library only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

# Marks every process of a run; inherited by all children of the worker.
MARK = "LABCTL_RUN_DIR"
_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36


def boot_id() -> str:
    """The kernel's id of this boot: a pid means nothing after a reboot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot (proc(5), stat field 22); None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    # A zombie holds nothing any more: it counts as gone.
    return None if fields[0] in "ZX" else int(fields[19])


def alive(pid: int, ticks: int, boot: str) -> bool:
    """Whether the very process that was recorded (pid, start ticks, boot id) still runs."""
    return boot == boot_id() and start_ticks(pid) == ticks


def adopt_orphans() -> None:
    """Become the parent of every orphan below this process, so that none escapes its end."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Have the kernel end this process when its parent dies, however it dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def of_run(run_dir: Path) -> list[int]:
    """Pids whose environment carries the mark of this run, this process left out."""
    mark = f"{MARK}={run_dir}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0") and start_ticks(int(entry.name)):
                found.append(int(entry.name))
    return found


def end_run(run_dir: Path, grace: float = 5.0) -> None:
    """End what is left of a run: SIGTERM, then SIGKILL after ``grace`` seconds.

    Nobody is waited for here: a parent that wants the exit status of its child must be the one to collect it.
    """
    met = of_run(run_dir)
    for pid in met:
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + (grace if met else 0)
    while of_run(run_dir) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in of_run(run_dir):
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def oom_kills() -> int | None:
    """How often the kernel killed for memory since boot (/proc/vmstat oom_kill); None where it does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None
