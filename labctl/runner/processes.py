"""Facts about Linux processes, from /proc, and how to end them. Standard library only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import time
from pathlib import Path

# Marks every process of a run; inherited by all children of the worker.
MARK = "LABCTL_RUN_DIR"
_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36
# Where POSIX shared memory lies on Linux, and how /proc/PID/maps tells of it (proc(5): ... device, inode, path).
_SHARED = Path("/dev/shm")  # noqa: S108
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_MAPPED = re.compile(r"^\S+ \S+ \S+ \S+ (\d+) +/dev/shm/", re.MULTILINE)


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


def family(pid: int) -> set[int]:
    """A process, those of its process group, and all below them."""
    parents = {}
    found = {pid}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            stat = (entry / "stat").read_text(encoding="utf-8", errors="replace") if entry.name.isdigit() else ""
            # proc(5): after the name in brackets come state, parent, process group.
            _, parent, group = stat.rpartition(")")[2].split()[:3]
            parents[int(entry.name)] = int(parent)
            found |= {int(entry.name)} if int(group) == pid else set()
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def sockets(pids: set[int]) -> set[int]:
    """Inodes of the sockets that these processes hold; those of another user's show nothing."""
    found: set[int] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if held := _SOCKET.fullmatch(str(entry.readlink())):
                        found.add(int(held[1]))
    return found


def end_run(run_dir: Path, grace: float = 5.0) -> None:
    """End what is left of a run: SIGTERM, then SIGKILL after ``grace`` seconds.

    Nobody is waited for here: a parent that wants the exit status of its child must be the one to collect it.
    """
    met = of_run(run_dir)
    shared = shared_memory(met)
    for pid in met:
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + (grace if met else 0)
    while of_run(run_dir) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in of_run(run_dir):
        _signal(pid, signal.SIGKILL)
    forget(shared)


def shared_memory(pids: list[int]) -> set[int]:
    """Inodes below /dev/shm that these processes have mapped: what nobody unlinks once they are killed.

    By inode, for a semaphore gets its name after it was mapped (sem_open(3) links it).
    """
    found: set[int] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
            found.update(map(int, _MAPPED.findall(maps)))
    return found


def forget(inodes: set[int], within: float = 2.0) -> None:
    """Unlink shared memory that no process has mapped any more, once those that were killed are really gone."""
    deadline = time.monotonic() + within
    while inodes and time.monotonic() < deadline:
        free = inodes - shared_memory([int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()])
        for entry in _SHARED.iterdir() if free and _SHARED.is_dir() else ():
            with contextlib.suppress(OSError):
                if entry.lstat().st_ino in free:
                    entry.unlink()
        inodes = inodes - free
        time.sleep(0.05 if inodes else 0)


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
