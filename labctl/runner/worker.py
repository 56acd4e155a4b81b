"""The process that holds vLLM: runs the mode that the spec names and says in events what happened."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from pathlib import Path

from labctl.runner import arguments, ending, failures, model, processes, rundir, spec
from labctl.runner.events import Events
from labctl.runner.last_words import LastWords
from labctl.runner.redact import Redactor

# Workload kind -> the module whose ``run(asked, run_dir, events)`` does it.
_KINDS = {
    "prompts": "offline", "batches": "bench", "requests": "api", "hold": "hold", "serve_bench": "serve_bench",
    "arrivals": "arrivals", "parameters": "parameters",
}  # fmt: skip


def main() -> int:
    """``worker RUN_DIR ZERO``. Exit status 0, or 1 after an error event."""
    processes.die_with_parent()
    run_dir, zero = Path(sys.argv[1]), float(sys.argv[2])
    with Events(run_dir, zero, Redactor(os.environ)) as events:
        return _run(run_dir, events)


def _run(run_dir: Path, events: Events) -> int:
    said = LastWords(run_dir)
    try:
        events.emit("start", pid=os.getpid())
        asked = spec.from_json((run_dir / rundir.SPEC).read_text(encoding="utf-8"))
        # Of an engine over several hosts, the first one has the server and does the work.
        name = "headless" if asked.span and asked.span.rank else _KINDS[asked.workload.kind]
        importlib.import_module(f"labctl.runner.{name}").run(asked, run_dir, events)
        events.emit("done")
    except BaseException as error:  # noqa: BLE001 - the record must name whatever ended the run
        message = _message(error, said)
        if not isinstance(error, (failures.ServerError, failures.Stopped)):
            # Else it would stand in the log between the server's own last words and their reader.
            traceback.print_exc()
        with contextlib.suppress(OSError):
            # A full disk takes this line too; then the supervisor knows it from its own log.
            events.emit("error", kind=_kind(error), phase=events.phase or "start", message=message)
        sys.stdout.flush()
        return 1
    return 0


def _kind(error: BaseException) -> str:
    if ending.is_disk_full(error):
        return "disk_full"
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        return "out_of_memory"
    for kind, types in _OWN.items():
        if isinstance(error, types):
            return kind
    return "engine"


# Their messages are whole sentences for people.
_OWN: dict[str, type[BaseException]] = {
    "argument": arguments.ArgumentError, "model": model.ModelError, "server": failures.ServerError,
    "client": failures.ClientError, "stopped": failures.Stopped,
}  # fmt: skip


# The engine's own process says what it was; the exception here only that it was (vllm/v1/engine/utils.py, 0.32.0).
_ROOT = "See root cause above"


def _message(error: BaseException, said: LastWords) -> str:
    if isinstance(error, tuple(_OWN.values())):
        return str(error)
    text = f"{type(error).__name__}: {str(error)[:4000]}"
    return text + said.told() if _ROOT in text else text


if __name__ == "__main__":
    sys.exit(main())
