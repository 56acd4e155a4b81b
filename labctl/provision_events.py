"""What Ansible tells while it works (ansible/plugins/callback/labctl_events.py), as one line a task."""

from __future__ import annotations

import json
import re
import selectors
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# A task that takes longer than this is announced while it works.
PATIENCE_S = 2.0
# The task that ends a playbook where only sudo's password is lacking.
NEED_PASSWORD = "system_packages : Need a sudo password"  # noqa: S105 - a task's name
# Ansible's own task before each role, which says nothing to anyone.
_OWN = "Validating arguments against arg spec"
# What Ansible 2.19 puts before the words that matter.
_WRAPPING = re.compile("^(Task failed: |Action failed: |Failed to connect to the host via ssh: )*")

# Ansible calls a host unreachable whose disk is full, too.
_NO_ROOM = "Failed to create temporary directory"
# What ssh adds when the jump host's ssh, which said why, has gone.
_ECHO = re.compile("(kex_exchange_identification: )?Connection closed by (remote host|UNKNOWN port 65535)$")


@dataclass(frozen=True, slots=True)
class Failure:
    """The first task that failed: its message and, where a program said more, the last of its lines.

    ``unreachable``: the host did not answer, or no longer; the message is then ssh's own.
    """

    task: str
    message: str
    details: tuple[str, ...] = ()
    unreachable: bool = False

    def __str__(self) -> str:
        """All of it, for a reader."""
        return "\n".join([f"{self.task}: {self.message}", *self.details])


class Progress:
    """Follows the events of one playbook run.

    ``recap``: {"ok", "changed", "failed", "skipped"} once the run is over, else None.
    ``failure``: what failed first, or None.
    """

    def __init__(self, echo: Callable[[str], None]) -> None:
        """``echo`` gets each line."""
        self._echo = echo
        self._task = ""
        self._announced = True
        self.recap: dict[str, int] | None = None
        self.failure: Failure | None = None

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
            note = f": {' '.join(event['msg'].split())}" if event.get("note") else ""
            # A question is to come, or its absence is told as the error: nothing has failed so far.
            shown = "asks" if event["task"] == NEED_PASSWORD and status == "failed" else status
            self._echo(f"  {shown:<8} {event['task']}{note}")
        if status in ("failed", "unreachable") and self.failure is None:
            self.failure = _failure(event)

    def _stats(self, hosts: dict[str, dict[str, int]]) -> None:
        sums = {key: sum(host[key] for host in hosts.values()) for key in ("ok", "changed", "skipped")}
        failed = sum(host["failures"] + host["unreachable"] for host in hosts.values())
        self.recap = {**sums, "failed": failed}


def _failure(event: dict[str, Any]) -> Failure:
    task, message = event["task"], _WRAPPING.sub("", event["msg"])
    if event["status"] == "unreachable" and not message.startswith(_NO_ROOM):
        return Failure(task, _of_ssh(message), unreachable=True)
    return Failure(task, " ".join(message.split()), tuple(event["stderr"].strip().splitlines()[-8:]))


def _of_ssh(message: str) -> str:
    """The last two lines that say why; before them may stand a banner, or a frame of @@@."""
    lines = [line.strip() for line in message.splitlines()]
    said = [line for line in lines if line.strip("@ ")]
    telling = [line for line in said if not _ECHO.match(line)] or said
    return "; ".join(telling[-2:]).rstrip(": ")
