"""What a supervisor knows of the others of its span, from what they said and when. No sockets here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# A host that says nothing for so long counts as dead; a line that broke gets a moment to be made anew.
SILENT_S = 20.0
BROKEN_S = 5.0
STATUSES = ("ok", "failed", "stopped")
# How likely an end is the cause of others', the likeliest first: killed from outside (or silent), failed by itself,
# failed because another host did not answer any more.
CAUSES = ("killed", "failed", "followed")
_LINES, _LINE = 25, 2000
# What a process says, or is said of, that was killed from outside (vllm/v1/executor/multiproc_executor.py, 0.32.0; the
# exit code is not always known by then), and what it says when it lost another host (gloo, NCCL, PyTorch's TCPStore).
_SIGNAL = re.compile(r"exit code: -\d+|killed by signal \d+|SIGKILL|SIGSEGV|SIGBUS")
_MAYBE = re.compile(r"died unexpectedly \(exit code: None\)")
_LOST_ANOTHER = re.compile(
    r"Connection (closed|reset) by peer|Broken pipe|ncclRemoteError|remote process exited|recvValue failed"
    r"|Timed out waiting \d+ms for (recv|send) operation"
)


@dataclass(frozen=True)
class End:
    """How a host's part ended: ``host`` is at fault (or ended first), at ``at`` seconds of this machine's own clock.

    ``cause``: one of CAUSES.
    """

    status: str
    host: str
    message: str
    at: float
    tail: tuple[str, ...] = ()
    cause: str = "failed"

    @property
    def order(self) -> tuple[int, float]:
        """By which ends are sorted: the first one explains the others."""
        return CAUSES.index(self.cause), self.at

    def told(self, now: float) -> dict[str, Any]:
        """As it goes to the others, whose clocks are other ones."""
        age = round(now - self.at, 3)
        said = {"status": self.status, "host": self.host, "message": self.message[:_LINE], "cause": self.cause}
        return {"kind": "end", **said, "age": age, "tail": lines(self.tail)}


def cause(message: str, log: Sequence[str]) -> str:
    """Which of CAUSES the failure of an engine's part was, by its message and the last lines of its log."""
    said = "\n".join((message, *log))
    if _SIGNAL.search(message):
        return "killed"
    if _LOST_ANOTHER.search(said):
        return "followed"
    return "killed" if _SIGNAL.search(said) or _MAYBE.search(said) else "failed"


def lines(value: object) -> list[str]:
    """The last lines of a log as another host tells them: texts, not too many, none too long."""
    if not isinstance(value, (list, tuple)):
        return []
    return [one[:_LINE] for one in value if isinstance(one, str)][-_LINES:]


@dataclass
class Peer:
    """One of the others: what it said last, and whether it can still be heard."""

    rank: int
    host: str
    heard: float | None = None
    lost: float | None = None
    node: dict[str, Any] | None = None
    phase: str = ""
    ready: bool = False
    go: bool = False
    model: str = ""
    tail: list[str] = field(default_factory=list)
    end: End | None = None

    def take(self, message: dict[str, Any], now: float, hosts: tuple[str, ...]) -> None:
        """Note a message; what makes no sense in it is left out, for the host may have another labctl."""
        self.heard, self.lost = now, None
        kind = message.get("kind")
        if kind == "beat":
            self.phase, self.model = str(message.get("phase") or "")[:100], str(message.get("model") or "")[:200]
            self.ready = self.ready or message.get("ready") is True
            self.tail = lines(message["tail"]) if "tail" in message else self.tail
        elif kind == "node" and self.node is None and isinstance(message.get("node"), dict):
            self.node = message["node"]
        elif kind == "go":
            self.go = True
        elif kind == "end" and self.end is None and message.get("status") in STATUSES:
            self.end = self._end(message, now, hosts)

    def _end(self, message: dict[str, Any], now: float, hosts: tuple[str, ...]) -> End:
        age = message.get("age")
        known = isinstance(age, (int, float)) and not isinstance(age, bool) and 0 <= age < float("inf")
        return End(
            status=str(message["status"]),
            host=message["host"] if message.get("host") in hosts else self.host,
            message=str(message.get("message") or "")[:_LINE],
            at=now - (float(age) if known and age is not None else 0.0),
            tail=tuple(lines(message.get("tail"))),
            cause=message["cause"] if message.get("cause") in CAUSES else "failed",
        )

    def dead(self, now: float) -> End | None:
        """The end of a host that can't tell it any more; None while it is heard, or has said how it ended."""
        if self.end is not None or self.heard is None:
            return None
        if self.lost is not None and now - self.lost > BROKEN_S:
            # Its supervisor is gone, or its machine: nothing else closes the line without a word.
            return self._silent(f"went silent: its line broke {now - self.lost:.0f} s ago", self.lost)
        if now - self.heard > SILENT_S:
            return self._silent(f"went silent: not a word for {now - self.heard:.0f} s", self.heard)
        return None

    def _silent(self, what: str, at: float) -> End:
        where = f" in phase {self.phase}" if self.phase else ""
        last = f"; its last line was: {self.tail[-1].strip()[:300]}" if self.tail else ""
        return End("failed", self.host, f"{what}{where}{last}", at, tuple(self.tail), cause="killed")
