"""``vllm serve`` as a child process: started, told apart from the living, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from labctl.runner import processes
from labctl.runner.failures import Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator

# Below the supervisor's own patience with a worker that it stops (supervisor._STOP_GRACE), with room for a scrape.
_STOP_GRACE = 10.0


@contextmanager
def child(words: list[str], *, dev: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """``vllm serve`` with these words, in a process group of its own; whatever is left of it at the end is killed.

    Its output is the worker's, and so the run's engine log. It dies with the worker. ``dev``: vLLM's dev mode.
    """
    command = [sys.executable, "-I", "-u", "-m", "vllm.entrypoints.cli.main", "serve", *words]
    with stoppable():
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "VLLM_SERVER_DEV_MODE": "1" if dev else "0"},
            process_group=0,
            preexec_fn=processes.die_with_parent,  # noqa: PLW1509 - the worker starts its threads later
        )
        try:
            yield process
        finally:
            end(process)


@contextmanager
def stoppable() -> Iterator[None]:
    """Within it, SIGTERM raises Stopped, once: the clean end that follows must not be cut short by another."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, time to end, then SIGKILL for all of its group that is left."""
    if process.poll() is None:
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_STOP_GRACE)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def how_it_ended(process: subprocess.Popen[bytes]) -> str:
    """``ended with exit status 1``, or the signal."""
    code = process.returncode
    if code < 0:
        known = {number.value: f" ({number.name})" for number in signal.Signals}
        return f"was killed by signal {-code}{known.get(-code, '')}"
    return f"ended with exit status {code}"
