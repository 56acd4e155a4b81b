"""A run that is one part of a span: met with the others before it starts, ended with them, and whose fault it was."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from labctl.runner import ending, events, peer_book, rundir
from labctl.runner.peer_book import End
from labctl.runner.peer_line import PeerError
from labctl.runner.peers import Peers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labctl.runner.placement import Span
    from labctl.runner.redact import Redactor

# The secret of a span, in each run's 0600 file of secrets.
TOKEN = "LABCTL_PEER_TOKEN"  # noqa: S105 - its name
# Written for the worker of a host that has no server of its own: the first host's is healthy.
READY = ".span-ready"
# The hosts are started one after another, over lines that may be slow or cut for a while.
MEET_S = 120.0
# How long a host that failed listens whether another one failed before it: silence takes longest to be sure of.
_BLAME_S, _QUIET_S, _AT_LEAST_S = 30.0, 3.0, 6.0
_DELIVER_S = 20.0
_LOOK_BACK = 300  # lines


class Joint:
    """The others, as the supervisor of this part sees them."""

    def __init__(self, run_dir: Path, span: Span, token: str, redact: Redactor) -> None:
        """Begin to listen or to call. Raises PeerError."""
        if not token:
            raise PeerError("the secret of the span never arrived: a span is started by `labctl run LAB --span HOSTS`")
        self._run_dir, self._span, self._redact = run_dir, span, redact
        self.host = span.hosts[span.rank]
        self.peers = Peers(span, token, self._beat)
        self._model = ""
        self._verdict: End | None = None
        self._settled = False

    def _beat(self) -> dict[str, Any]:
        rows = events.read(self._run_dir)
        ready = any(row["event"] == "end" and row.get("phase") == "engine" for row in rows)
        model = (ending.last(rows, "span") or {}).get("model")
        told = {"phase": events.open_phase(rows) or "start", "ready": ready, "model": model}
        return {"kind": "beat", **told, "tail": [line[:500] for line in ending.log_tail(self._run_dir)]}

    def gather(self, mine: dict[str, Any], stopping: Callable[[], bool]) -> list[dict[str, Any]]:
        """Wait until every host of the span is there; the nodes of the others, kept below machine/ too.

        Raises PeerError naming who was not heard of.
        """
        mine |= {"host": self.host, "rank": self._span.rank, "run": self._span.runs[self._span.rank]}
        self.peers.say({"kind": "node", "node": mine})
        deadline = time.monotonic() + MEET_S
        book = self.peers.book.values()
        while missing := [one.host for one in book if not (one.go if self._span.rank else one.node)]:
            if stopping() or self.over():
                return []
            if time.monotonic() > deadline:
                where = f"{self._span.addresses[0]} port {self._span.peer_port}"
                raise PeerError(
                    f"nothing was heard of {' and '.join(missing)} within {MEET_S:.0f} s (labctl's own line, {where}): "
                    "is the private address right, and does a firewall let the hosts reach each other there?"
                )
            time.sleep(0.1)
        self.peers.say({"kind": "go"})
        return [] if self._span.rank else [self._keep(rank) for rank in sorted(self.peers.book)]

    def _keep(self, rank: int, **more: Any) -> dict[str, Any]:
        """The node of another host as it told it, also as a raw file. Raises OSError."""
        peer, span = self.peers.book[rank], self._span
        told = peer.node or {}
        node = {"name": told.get("name"), "host": span.hosts[rank], "rank": rank, "run": span.runs[rank]}
        for key in ("machine", "packages"):
            node[key] = told.get(key) if isinstance(told.get(key), dict) else {}
        node |= {"samples": {"run": span.runs[rank]}, **more}
        text = json.dumps(node, indent=1, ensure_ascii=False) + "\n"
        rundir.write_atomic(self._run_dir / rundir.NODE.format(rank=rank), text.encode(errors="replace"))
        return node

    def over(self) -> End | None:
        """How the span ended elsewhere, once it has; called all the while."""
        if self._verdict is None:
            if not self._span.rank:
                self._check_models()
            elif any(peer.ready or (peer.end and peer.end.status == "ok") for peer in self.peers.book.values()):
                (self._run_dir / READY).touch()
        if self._verdict is None:
            # Another's part that ended well has heard it from the first host.
            ends = [end for end in self.peers.ends() if self._span.rank or end.status != "ok"]
            self._verdict = min(ends, key=lambda end: end.at, default=None) or self.peers.dead()
        return self._verdict

    def _check_models(self) -> None:
        """Shards of two different models would make one that answers nonsense, and nobody would see why."""
        if not self._model and any(peer.model for peer in self.peers.book.values()):
            self._model = str(self._beat()["model"] or "")
        for peer in self.peers.book.values():
            if self._model and peer.model not in {"", self._model}:
                what = f"its model ({peer.model}) is not the one on {self.host} ({self._model}): they must be the same"
                self._verdict = End("failed", peer.host, what, time.monotonic())

    def settle(self, outcome: ending.Outcome, died: float | None = None) -> None:
        """Agree with the others how it ended, and write it into ``outcome``; ``died``: when this part's worker did."""
        if self._settled:
            return
        self._settled = True
        mine = self._own(outcome, time.monotonic() if died is None else died)
        elsewhere = self._verdict is not None and self._verdict.status != "ok" and not outcome.stopped
        final = self._verdict if elsewhere and self._verdict else mine
        if self._span.rank:
            # At once: the first host judges by it, and tells everyone.
            self._tell(final)
        if final.status == "failed" and final.cause != "killed":
            final = self._earlier(final) or final
        if not self._span.rank:
            self._tell(final)
        if final is not mine:
            self._adopt(outcome, final)
        self.peers.close(_DELIVER_S)

    def _tell(self, end: End) -> None:
        self.peers.say(end.told(time.monotonic()))

    def _own(self, outcome: ending.Outcome, at: float) -> End:
        """How this part ended, if nobody else is asked."""
        if outcome.stopped:
            return End("stopped", self.host, "stopped on request", at, tuple(ending.log_tail(self._run_dir)))
        error = outcome.error or ending.judge(self._run_dir, outcome)
        if error is None:
            return End("ok", self.host, "", at)
        message, log = str(error.get("message")), ending.log_tail(self._run_dir, _LOOK_BACK)
        cause = "killed" if (outcome.code or 0) < 0 or outcome.oom_kills else peer_book.cause(message, log)
        return End("failed", self.host, message, at, tuple(ending.log_tail(self._run_dir)), cause)

    def _earlier(self, mine: End) -> End | None:
        """The end of another host that explains this one, after the others had time to tell theirs."""
        began = time.monotonic()
        least = _AT_LEAST_S * (2 if self._span.rank else 1)
        while (now := time.monotonic()) - began < _BLAME_S:
            silent = self.peers.dead()
            others = [end for end in (*self.peers.ends(), silent) if end and end.host not in {self.host, mine.host}]
            best = min((one for one in others if one.status != "ok"), key=lambda end: end.order, default=None)
            waiting = [peer for peer in self.peers.book.values() if peer.end is None and not peer.dead(now)]
            quiet = [peer for peer in waiting if peer.heard is not None and now - peer.heard > _QUIET_S]
            if not waiting or (not quiet and now - began > least) or (best and best.cause == "killed"):
                return best if best and best.order < mine.order else None
            time.sleep(0.1)
        return None

    def _adopt(self, outcome: ending.Outcome, end: End) -> None:
        if end.status == "stopped":
            outcome.stopped, outcome.why = True, f"stopped on {end.host}"
            return
        said = end.message if end.message.startswith(f"{end.host} ") else f"{end.host}: {end.message}"
        message, tail = self._redact(said), [self._redact(line) for line in end.tail]
        phase = events.open_phase(events.read(self._run_dir)) or "start"
        outcome.error = {"kind": "peer", "phase": phase, "message": message, "exit": outcome.code}
        outcome.error |= {"node": end.host, "log_tail": tail}

    def nodes(self, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The record's nodes, each of the others with how its part ended. Raises OSError."""
        if self._span.rank or len(known) == 1:
            return known
        return [known[0], *(self._ended(rank) for rank in sorted(self.peers.book))]

    def _ended(self, rank: int) -> dict[str, Any]:
        peer = self.peers.book[rank]
        end = peer.end or peer.dead(time.monotonic())
        said = {"status": end.status if end else None, "message": self._redact(end.message) if end else None}
        return self._keep(rank, **said, log_tail=[self._redact(line) for line in (end.tail if end else peer.tail)])


def join(run_dir: Path, span: Span | None, redact: Redactor) -> Joint | None:
    """The joint of a run that is part of a span, None for any other. Raises PeerError."""
    token = os.environ.pop(TOKEN, "")
    return Joint(run_dir, span, token, redact) if span else None
