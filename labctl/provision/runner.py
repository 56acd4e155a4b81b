"""One playbook through ansible-runner: its events as they come, nothing secret on a disk, an end on request."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.fleet import LeftError
from labctl.provision import tether

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from labctl.fleet import Leave

# What Ansible is told when the user leaves, and when (s): it passes the first two on to what it has under way, and
# ends; ansible-runner then kills what is left of it.
_INTERRUPT, _TERMINATE, _KILL = 0.0, 3.0, 4.0
# How often ansible-runner looks whether the user has left (s).
_LOOK_S = 0.2


class Playbook(NamedTuple):
    """What is to be run: ``program`` is ansible-playbook, ``words`` its options; ``variables`` win over all others."""

    program: Path
    path: Path
    words: Sequence[str]
    variables: Mapping[str, Any]


def run(
    playbook: Playbook,
    environment: dict[str, str],
    scratch: Path,
    take: Callable[[dict[str, Any]], None],
    leave: Leave,
) -> int:
    """Run it to its end and give Ansible's exit status; ``take`` gets each of ansible-runner's events.

    ``scratch`` is a private folder. What may hold a secret passes through pipes there, which keep nothing, not even
    where labctl is killed: the environment (which ansible-runner notes down) and the variables. Raises LeftError.
    """
    import ansible_runner  # type: ignore[import-untyped]

    # None of its own terminal is asked for anything: what would ask fails.
    environment = {name: value for name, value in environment.items() if not name.startswith("ANSIBLE_ASK_")}
    values = scratch / "variables.json"
    config = ansible_runner.RunnerConfig(
        private_data_dir=str(scratch),
        ident="run",
        playbook=str(playbook.path),
        cmdline=shlex.join([*playbook.words, "--extra-vars", f"@{values}"]),
        envvars=environment,
        settings={"suppress_output_file": True, "pexpect_timeout": _LOOK_S},
        fact_cache_type="memory",
        quiet=True,
    )
    config.prepare()
    tied = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid())]
    config.command[:1] = [*tied, str(playbook.program)]
    config.env = _environment(environment, config.env)
    end = _End(leave)

    def handle(event: dict[str, Any]) -> bool:
        end.pid = end.pid or event.get("pid")
        take(event)
        return False  # nothing of it stays in the folder

    with _given(values, json.dumps(playbook.variables).encode()), _dropped(scratch / "artifacts" / "run" / "command"):
        runner = ansible_runner.Runner(config, event_handler=handle, cancel_callback=end)
        runner.run()
    if end.asked:
        raise LeftError
    return int(runner.rc)


def _environment(ours: dict[str, str], theirs: dict[str, str]) -> dict[str, str]:
    """Ours, and what ansible-runner adds; not what it takes from labctl's own environment though we left it out."""
    added = {name: value for name, value in theirs.items() if value not in (ours.get(name), os.environ.get(name))}
    # It turns the check of host keys off unless told otherwise.
    return {**ours, **added, "ANSIBLE_HOST_KEY_CHECKING": "True"}


class _End:
    """ansible-runner asks it again and again whether to kill; before, it asks Ansible to end in order."""

    def __init__(self, leave: Leave) -> None:
        self._leave = leave
        self._since = 0.0
        self._left = [(_INTERRUPT, signal.SIGINT), (_TERMINATE, signal.SIGTERM)]
        self.pid: int | None = None
        self.asked = False

    def __call__(self) -> bool:
        try:
            self._leave.check()
        except LeftError:
            self._since = self._since if self.asked else time.monotonic()
            self.asked = True
        else:
            return False
        passed = time.monotonic() - self._since
        while self.pid and self._left and passed >= self._left[0][0]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, self._left.pop(0)[1])
        # Without a process number it has not begun with any host.
        return passed >= _KILL or not self.pid


@contextlib.contextmanager
def _given(path: Path, data: bytes) -> Iterator[None]:
    """A file that can be read once: a pipe, so that nothing of it is ever on a disk."""
    with _pipe(path, lambda: path.write_bytes(data), os.O_RDONLY):
        yield


@contextlib.contextmanager
def _dropped(path: Path) -> Iterator[None]:
    """A file that can be written once, and is not kept."""
    with _pipe(path, path.read_bytes, os.O_WRONLY):
        yield


@contextlib.contextmanager
def _pipe(path: Path, serve: Callable[[], object], other_side: int) -> Iterator[None]:
    os.mkfifo(path, 0o600)

    def work() -> None:
        with contextlib.suppress(OSError):
            serve()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        # Where nobody came, the thread still waits for the other side.
        while thread.is_alive():
            with contextlib.suppress(OSError):
                os.close(os.open(path, other_side | os.O_NONBLOCK))
            thread.join(0.01)
        path.unlink()
