"""What Ansible tells while it works, through ansible-runner: as one line a task, and as the few facts that are kept."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# A task that takes longer than this is announced while it works.
PATIENCE_S = 2.0
# The task that ends a playbook where only sudo's password is lacking.
NEED_PASSWORD = "system_packages : Need a sudo password"  # noqa: S105 - a task's name
# Ansible's own task before each role, which says nothing to anyone.
_OWN = "Validating arguments against arg spec"
# What Ansible 2.19 puts before the words that matter.
_WRAPPING = re.compile(
    "^(Task failed: |Action failed: |Failed to connect to the host via ssh: "
    "|Finalization of task args for '[^']*' failed: |Error while resolving value for '[^']*': "
    "|The filter plugin '[^']*' failed: )*"
)

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


# What an event of ansible-runner says of how a task ended on a host.
_ENDS = {
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_skipped": "skipped",
    "runner_on_unreachable": "unreachable",
}
# Tasks that only bring others; their own tasks speak for themselves.
_BRINGS = ("include_tasks", "include_role", "import_tasks", "import_role")
_SUMS = {"ok": "ok", "changed": "changed", "skipped": "skipped", "failures": "failed", "dark": "failed"}


def read(event: dict[str, Any]) -> dict[str, Any] | None:
    """What counts of one of ansible-runner's events; None of one that says nothing of a host.

    {"event": "start", "host", "role", "task"}; {"event": "result", and "status", "seconds", "msg", "stderr", "note"};
    {"event": "stats", "hosts": {host: {"ok", "changed", "failed", "skipped", "rescued"}}}.
    """
    kind, data = event.get("event"), event.get("event_data") or {}
    if kind == "playbook_on_stats":
        return {"event": "stats", "hosts": {host: _sums(data, host) for host in data.get("processed") or {}}}
    if kind not in _ENDS and kind != "runner_on_start":
        return None
    role, name = str(data.get("role") or ""), str(data.get("task") or "")
    place = {"host": str(data.get("host")), "role": role, "task": f"{role} : {name}" if role else name}
    action = str(data.get("task_action"))
    if kind == "runner_on_start":
        return {"event": "start", **place}
    return None if action.endswith(_BRINGS) else {"event": "result", **place, **_result(str(kind), action, data)}


def _sums(data: dict[str, Any], host: str) -> dict[str, int]:
    sums = {"ok": 0, "changed": 0, "failed": 0, "skipped": 0, "rescued": int((data.get("rescued") or {}).get(host, 0))}
    for theirs, ours in _SUMS.items():
        sums[ours] += int((data.get(theirs) or {}).get(host, 0))
    return sums


def _result(kind: str, action: str, data: dict[str, Any]) -> dict[str, Any]:
    told = data.get("res") or {}
    status = _ENDS[kind]
    if status == "ok" and told.get("changed"):
        status = "changed"
    if status == "failed" and data.get("ignore_errors"):
        status = "ignored"
    # A loop says of itself only that one of its turns failed.
    failed = [item for item in told.get("results") or [] if isinstance(item, dict) and item.get("failed")]
    said = failed[0] if failed else told
    return {
        "status": status,
        "seconds": round(float(data.get("duration") or 0), 2),
        "msg": str(said.get("msg") or said.get("reason") or said.get("censored") or ""),
        "stderr": str(said.get("stderr") or said.get("module_stderr") or "")[-4000:],
        "note": action.endswith("debug"),
    }


class Progress:
    """Follows the events of one host.

    ``recap``: {"ok", "changed", "failed", "skipped"} once the run is over, else None.
    ``failure``: what failed first and was not made good, or None. ``notes``: what tasks had to say.
    """

    def __init__(
        self,
        echo: Callable[[str], None],
        passing: Callable[[str], None] | None = None,
        doing: Callable[[str], None] = lambda _task: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``echo`` gets each line that tells something, ``passing`` (or else ``echo``) the others.

        ``doing`` gets the name of each task that begins, and an empty one at its end.
        """
        self._echo, self._passing, self._doing = echo, passing or echo, doing
        self._clock = clock
        self._lock = threading.Lock()
        self._task = ""
        self._since = 0.0
        self._announced = True
        self.recap: dict[str, int] | None = None
        self.failure: Failure | None = None
        self.notes: list[str] = []

    def tick(self) -> None:
        """Called again and again: announces a task that takes its time, once."""
        with self._lock:
            if not self._announced and self._clock() - self._since > PATIENCE_S:
                self._announced = True
                self._passing(f"  ...      {self._task}")

    def take(self, event: dict[str, Any]) -> None:
        """Take in one event of ``read`` that is this host's."""
        with self._lock:
            if event["event"] == "start":
                self._task, self._since, self._announced = event["task"], self._clock(), False
                if _OWN not in event["task"]:
                    self._doing(event["task"])
            elif event["event"] == "result":
                self._result(event)
            else:
                self._stats(event["sums"])

    def _result(self, event: dict[str, Any]) -> None:
        status, announced = event["status"], self._announced
        self._announced = True
        self._doing("")
        text = " ".join(event["msg"].split()) if event.get("note") and status != "skipped" else ""
        if text:
            self.notes.append(text)
        if status != "skipped" and (announced or _OWN not in event["task"]):
            # A question is to come, or its absence is told as the error: nothing has failed so far.
            shown = "asks" if event["task"] == NEED_PASSWORD and status == "failed" else status
            tell = self._passing if shown == "ok" and not text else self._echo
            tell(f"  {shown:<8} {event['task']}{': ' if text else ''}{text}")
        if status in ("failed", "unreachable") and self.failure is None:
            self.failure = _failure(event)

    def _stats(self, sums: dict[str, int]) -> None:
        if sums["rescued"] and not sums["failed"]:
            self.failure = None
        self.recap = {key: sums[key] for key in ("ok", "changed", "failed", "skipped")}


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
