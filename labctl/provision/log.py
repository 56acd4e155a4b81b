"""What is kept of a provision, by host: all that Ansible said, and the few facts of each task."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Self

from labctl.report.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# In a run's directory, outside its seal.
IN_RUN = "local/provision.jsonl"
# Characters kept of what a task said.
_SAID = 500
# What several hosts include at once is told in one text for all of them, and says nothing.
_INCLUDED = re.compile(r"^included: .*\n?", re.MULTILINE)
_BANNER = re.compile(r"^\s*(?:TASK|RUNNING HANDLER) \[.*?\] \**\n", re.DOTALL)


def folder(project: Path) -> Path:
    """Where a project's provisions are logged."""
    return project / ".labctl" / "logs"


class HostLog:
    """``provision-HOST.log`` for people and ``provision-HOST.jsonl``, both with mode 0600; use it in a ``with``."""

    def __init__(self, logs: Path, host: str, mask: Callable[[str], str]) -> None:
        """``mask`` takes the secrets out of a text."""
        self.path, self.rows = logs / f"provision-{host}.log", logs / f"provision-{host}.jsonl"
        self._last, self._host, self._mask = logs / f"provisioned-{host}.jsonl", host, mask
        self._task = ""

    def __enter__(self) -> Self:
        """Raises OSError."""
        self._open = contextlib.ExitStack()
        self._text, self._facts = (self._open.enter_context(_private(path)) for path in (self.path, self.rows))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def say(self, text: str, task: str = "") -> None:
        """Ansible's own words; those of a task stand below its name."""
        # Twice: without its control codes a text may turn out to be a secret. A hidden sign becomes eight or nine.
        text = self._mask(clean(self._mask(text), 10 * len(text)))
        text = _INCLUDED.sub("", text)
        if task:
            text = _BANNER.sub("", text).strip("\n")
            if task != self._task:
                self._text.write(f"\nTASK [{task}] {'*' * max(3, 71 - len(task))}\n")
            self._task = task
        if text:
            self._text.write(f"{text}\n")
            self._text.flush()

    def fact(self, **values: Any) -> None:
        """One line of the facts, with the time and the host."""
        row = {"utc": datetime.now(UTC).isoformat(timespec="milliseconds"), "host": self._host, **values}
        self._facts.write(json.dumps(row) + "\n")
        self._facts.flush()

    def result(self, event: dict[str, Any]) -> None:
        """The facts of a task that ended (see events.read)."""
        facts = {name: event[name] for name in ("role", "status", "seconds")}
        task = event["task"].removeprefix(f"{event['role']} : ")
        self.fact(event="task", task=task, **facts, message=" ".join(self._mask(event["msg"]).split())[:_SAID])

    def keep(self) -> None:
        """This was a whole and good provision: the host's later runs get its facts."""
        self._facts.flush()
        temporary = self._last.with_suffix(".new")
        shutil.copy(self.rows, temporary)
        temporary.replace(self._last)

    def forget(self) -> None:
        """The host is no longer provisioned."""
        self._last.unlink(missing_ok=True)

    def tail(self) -> str:
        """The last words of the log."""
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        return " ".join(line.strip() for line in lines if line.strip())[-600:]


def into_run(project: Path, host: str, run: Path) -> None:
    """Put the facts of the host's last good provision into a run's directory; what cannot be had costs no run."""
    source = folder(project) / f"provisioned-{host}.jsonl"
    with contextlib.suppress(OSError):
        shutil.copy(source, run / IN_RUN)


def _private(path: Path) -> IO[str]:
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
