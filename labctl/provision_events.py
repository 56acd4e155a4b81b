"""What Ansible tells while it works (ansible/plugins/callback/labctl_events.py), as one line a task."""

from __future__ import annotations

import json
import selectors
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# A task that takes longer than this is announced while it works.
PATIENCE_S = 2.0
# Ansible's own task before each role, which says nothing to anyone.
_OWN = "Validating arguments against arg spec"


class Progress:
    """Follows the events of one playbook run.

    ``recap``: {"ok", "changed", "failed", "skipped"} once the run is over, else None.
    ``failure``: the failing task and its message, or an empty string.
    """

    def __init__(self, echo: Callable[[str], None]) -> None:
        """``echo`` gets each line."""
        self._echo = echo
        self._task = ""
        self._announced = True
        self.recap: dict[str, int] | None = None
        self.failure = ""

    def follow(self, events: IO[bytes]) -> None:
        """Read events until the other side closes the pipe, announcing a task that takes its time."""
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(events, selectors.EVENT_READ)
            while True:
                if not selector.select(None if self._announced else PATIENCE_S):
                    self.announce()
                    continue
                data = events.read1(65536)  # type: ignore[attr-defined]  # a buffered reader has it
                if not data:
                    return
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    self.take(json.loads(line))

    def announce(self) -> None:
        """Say what is being done now, once."""
        self._announced = True
        self._echo(f"  ...      {self._task}")

    def take(self, event: dict[str, Any]) -> None:
        """Take in one event."""
        kind = event["event"]
        if kind == "task":
            self._task, self._announced = event["task"], False
        elif kind == "result":
            self._result(event)
        elif kind == "stats":
            self._stats(event["hosts"])

    def _result(self, event: dict[str, Any]) -> None:
        status, announced = event["status"], self._announced
        self._announced = True
        if status != "skipped" and (announced or _OWN not in event["task"]):
            note = f": {event['msg']}" if event.get("note") else ""
            self._echo(f"  {status:<8} {event['task']}{note}")
        if status in ("failed", "unreachable") and not self.failure:
            message = " ".join(event["msg"].split())
            details = event["stderr"].strip().splitlines()[-8:]
            self.failure = "\n".join([f"{event['task']}: {message}", *details])

    def _stats(self, hosts: dict[str, dict[str, int]]) -> None:
        sums = {key: sum(host[key] for host in hosts.values()) for key in ("ok", "changed", "skipped")}
        failed = sum(host["failures"] + host["unreachable"] for host in hosts.values())
        self.recap = {**sums, "failed": failed}
