"""A host of a span that has no server of its own: vLLM's workers there, until the first host's server has ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from labctl.runner import engine_args, joint, ray_node, serve_args, span_part, vllm_child
from labctl.runner.failures import ServerError, Stopped
from labctl.runner.last_words import LastWords

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner.events import Events
    from labctl.runner.spec import RunSpec

_POLL = 0.2
_END_S = 3.0


def run(asked: RunSpec, run_dir: Path, events: Events) -> None:
    """Start ``vllm serve --headless`` and hold it until the supervisor, told by the first host's, sends SIGTERM.

    Raises ServerError where vLLM ends by itself before that.
    """
    engine = span_part.settle(asked, engine_args.prepare(asked, run_dir, events), events)
    words = [*serve_args.flags(engine), *serve_args.span_flags(asked.span)]
    said = LastWords(run_dir)
    with contextlib.ExitStack() as until_ended:
        if asked.span and ray_node.wanted(asked):
            # The first host's vLLM starts its workers here itself.
            process = until_ended.enter_context(ray_node.node(asked.span, run_dir))
        else:
            process = until_ended.enter_context(vllm_child.child(words))
        with events.during("engine"):
            over = _until_ready(process, said, run_dir / joint.READY)
        span_part.tell_ports(asked, run_dir, events)
        with events.during("serving"), contextlib.suppress(Stopped):
            while not over:
                _still_there(process, said)
        with events.during("shutdown") as told:
            _end(process)
            until_ended.close()
            told["exit"] = process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end; where it does not soon, its group is killed: nothing there is worth waiting for.

    Asked while its partner on the first host is gone already, it waits for that one (vLLM 0.32.0).
    """
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _until_ready(process: subprocess.Popen[bytes], said: LastWords, mark: Path) -> bool:
    """Wait for the mark; whether it is all over by then."""
    try:
        while not mark.exists():
            _still_there(process, said)
    except Stopped:
        # A server that was up for a moment only has ended before its mark was seen here.
        if mark.exists():
            return True
        raise
    return False


def _still_there(process: subprocess.Popen[bytes], said: LastWords) -> None:
    time.sleep(_POLL)
    code = process.poll()
    if code is not None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended by itself with exit status {code}"
        raise ServerError(f"its part of vLLM {how}{said.told()}")
