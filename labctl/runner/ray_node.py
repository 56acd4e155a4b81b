"""A Ray cluster over the hosts of a span, for vLLM's executor ``ray``, where Ray is in their environments.

Each host's runner starts its node and ends it; vLLM, on the first host, starts its workers through the cluster. Ray's
ports have no password either: they are bound to the private addresses.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from labctl.runner import processes, vllm_child
from labctl.runner.failures import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labctl.runner.placement import Span
    from labctl.runner.spec import RunSpec

NAME = "ray"
_UP_S = 60.0
# A Unix socket's path has at most 107 bytes (unix(7)); what Ray appends to its folder takes some 65.
_LONGEST = 40


def wanted(asked: RunSpec) -> bool:
    """Whether this run's engine spans hosts through Ray."""
    return asked.span is not None and asked.engine.get("distributed_executor_backend") == NAME


def words(span: Span, scratch: str) -> list[str]:
    """The words after ``ray`` for this host; ``scratch``: where Ray may keep its sockets and logs ("": its default)."""
    common = ["start", "--block", "--disable-usage-stats", f"--node-ip-address={span.addresses[span.rank]}"]
    if span.rank:
        return [*common, f"--address={span.addresses[0]}:{span.port}"]
    place = [f"--temp-dir={scratch}"] if scratch else []
    return [*common, "--head", f"--port={span.port}", "--include-dashboard=false", *place]


@contextmanager
def beside(asked: RunSpec, run_dir: Path) -> Iterator[None]:
    """On the first host: the cluster's head for the block, where the engine asks for Ray. Raises ServerError."""
    if asked.span is None or not wanted(asked):
        yield
        return
    with node(asked.span, run_dir) as process:
        _until_up(asked.span, process)
        os.environ["RAY_ADDRESS"] = f"{asked.span.addresses[0]}:{asked.span.port}"
        yield


@contextmanager
def node(span: Span, run_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """This host's part of the cluster, its output in the run's log; ended, with what it left, after the block."""
    scratch = run_dir.parent.parent / "tmp" / "labctl-ray"
    place = str(scratch) if len(str(scratch)) <= _LONGEST else ""
    command = [sys.executable, "-I", "-u", "-m", "ray.scripts.scripts", *words(span, place)]
    with vllm_child.stoppable():
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=processes.die_with_parent,  # noqa: PLW1509 - the worker starts its threads later
        )
        try:
            yield process
        finally:
            vllm_child.end(process)
            shutil.rmtree(scratch, ignore_errors=True)


def _until_up(span: Span, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _UP_S
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection((span.addresses[0], span.port), timeout=1).close()
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServerError(f"Ray did not come up on {span.hosts[0]}: see the engine's log")
        time.sleep(0.2)
