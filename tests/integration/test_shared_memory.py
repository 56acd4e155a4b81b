"""Shared memory and semaphores of processes that were killed do not stay behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from labctl.runner import processes

# As vLLM's executor: a block of memory and a lock, of which a forked child knows; nobody is left to unlink them.
_HOLDER = """
import multiprocessing, os, sys, time
from multiprocessing import shared_memory
block = shared_memory.SharedMemory(create=True, size=4096)
lock = multiprocessing.get_context("spawn").Lock()
if os.fork():
    print(block.name, lock._semlock.name, flush=True)  # by one of them: two lines at once would mix
time.sleep(60)
"""


def test_what_killed_processes_shared_is_unlinked(tmp_path: Path) -> None:
    env = {**os.environ, processes.MARK: str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", _HOLDER], stdout=subprocess.PIPE, text=True, env=env) as holder:
        assert holder.stdout is not None
        block, lock = holder.stdout.readline().split()
        names = [Path("/dev/shm") / block, Path(f"/dev/shm/sem.{lock.strip('/')}")]  # noqa: S108
        assert all(name.exists() for name in names)
        held = processes.shared_memory(processes.of_run(tmp_path))
        processes.forget(held, within=0.2)
        assert all(name.exists() for name in names), "it is in use"
        for pid in processes.of_run(tmp_path):
            os.kill(pid, 9)
        holder.wait(timeout=10)
    processes.forget(held)
    assert not any(name.exists() for name in names)
