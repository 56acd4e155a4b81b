"""The line between the supervisors of one span: the first host listens on its private address, the others call it.

A thread of its own keeps it going while the supervisor does slow things. It says each second that it lives and what
its log said last, so that a host's last words are known when the host is not there any more.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from labctl.runner import peer_line
from labctl.runner.peer_book import End, Peer
from labctl.runner.peer_line import Line
from labctl.runner.peer_wire import WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from labctl.runner.placement import Span

_TICK_S = 0.1
_BEAT_S = 1.0
_CALL_S = 0.5
# A stranger may knock; it holds no line for long, and not many: the oldest makes room, for a peer says who it is in
# one round trip.
_STRANGER_S = 5.0
_STRANGERS = 64


class Peers:
    """What is heard of the others (``book``), and what they are to hear. Made by ``rank``'s supervisor."""

    def __init__(self, span: Span, token: str, beat: Callable[[], dict[str, Any]]) -> None:
        """``token``: the secret of the span; ``beat`` gives {"phase", "ready", "model", "tail"} as it is now.

        Raises PeerError where the first host cannot listen on its address.
        """
        self._span, self._token, self._beat = span, token, beat
        others = [0] if span.rank else list(range(1, len(span.hosts)))
        self.book = {rank: Peer(rank, span.hosts[rank]) for rank in others}
        self._lock = threading.Lock()
        self._news: list[dict[str, Any]] = []  # whatever was said, for lines that come later too
        self._lines: list[Line] = []
        self._selector = selectors.DefaultSelector()
        self._server = None if span.rank else peer_line.listen(span)
        if self._server:
            self._selector.register(self._server, selectors.EVENT_READ, None)
        self._next_call = self._next_beat = 0.0
        self._closing: float | None = None
        self._defect: End | None = None
        self._thread = threading.Thread(target=self._run, name="peers", daemon=True)
        self._thread.start()

    def say(self, message: dict[str, Any]) -> None:
        """Tell every peer, now or as soon as its line stands."""
        with self._lock:
            self._news.append(message)

    def dead(self) -> End | None:
        """The earliest end of a peer that cannot be heard any more."""
        now = time.monotonic()
        with self._lock:
            if self._defect:
                return self._defect
            found = [one for one in (peer.dead(now) for peer in self.book.values()) if one]
        return min(found, key=lambda end: end.at, default=None)

    def ends(self) -> list[End]:
        """How peers said that their part ended."""
        with self._lock:
            return [peer.end for peer in self.book.values() if peer.end]

    def close(self, within: float) -> None:
        """Deliver what was said, and hang up; the first host hears how every other part ended before that.

        ``within``: seconds that this may take, where a peer has not been met yet, or can't come to its end.
        """
        self._closing = time.monotonic() + within
        self._thread.join(timeout=within + 10)

    def _run(self) -> None:
        try:
            self._go_on()
        except Exception as error:  # noqa: BLE001 - the supervisor must not take it for the others' silence
            traceback.print_exc()
            with self._lock:
                mine = self._span.hosts[self._span.rank]
                self._defect = End("failed", mine, f"its line to the others broke: {error}", time.monotonic())

    def _go_on(self) -> None:
        while not self._through():
            for key, _ in self._selector.select(_TICK_S):
                self._accept() if key.data is None else self._hear(key.data)
            self._keep_up()
        peer_line.hang_up(line for line in self._lines if not line.stranger)
        for line in [*self._lines]:
            self._drop(line)
        if self._server:
            self._server.close()
        self._selector.close()

    def _through(self) -> bool:
        """Whether this side wants to end, and nothing is to be said or heard any more."""
        if self._closing is None:
            return False
        now = time.monotonic()
        with self._lock:
            waiting = [rank for rank, peer in self.book.items() if peer.end is None and not peer.dead(now)]
            known = [line for line in self._lines if line.rank is not None]
            untold = [line for line in known if line.out or line.told < len(self._news)]
        # The others need not wait for anyone, where they could say what they had to say.
        nothing = not untold and (not waiting or (self._span.rank > 0 and bool(known)))
        return nothing or now > self._closing

    def _accept(self) -> None:
        assert self._server is not None  # noqa: S101 - it alone is registered without a line
        with contextlib.suppress(OSError):
            sock, address = self._server.accept()
            self._add(Line(sock, self._token, listener=True, likely=address[0] in self._span.addresses))
        strangers = sorted((line for line in self._lines if line.stranger), key=lambda line: (line.likely, line.since))
        for line in strangers[:-_STRANGERS]:
            self._drop(line)

    def _call(self, now: float) -> None:
        """The others call the first host, again and again until it answers."""
        self._next_call = now + _CALL_S
        sock = peer_line.call(self._span)
        if sock:
            self._add(Line(sock, self._token, listener=False))

    def _add(self, line: Line) -> None:
        line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines.append(line)
        self._selector.register(line.sock, selectors.EVENT_READ, line)

    def _drop(self, line: Line) -> None:
        self._lines.remove(line)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(line.sock)
        line.sock.close()
        with self._lock:
            if line.rank in self.book and all(other.rank != line.rank for other in self._lines):
                self.book[line.rank].lost = time.monotonic()

    def _hear(self, line: Line) -> None:
        if line not in self._lines:  # dropped for a newer one a moment ago
            return
        try:
            for message in line.receive():
                self._take(line, message)
        except BlockingIOError:
            return
        except (OSError, EOFError, WireError):
            self._drop(line)

    def _take(self, line: Line, message: dict[str, Any]) -> None:
        now = time.monotonic()
        if line.rank is None:
            rank = 0 if self._span.rank else message.get("rank")
            if not isinstance(rank, int) or rank not in self.book:
                raise WireError("it is none of the hosts of this span")
            line.rank = rank
        with self._lock:
            self.book[line.rank].take(message, now, self._span.hosts)

    def _keep_up(self) -> None:
        """Call, greet, tell the news, and beat where it is time; drop strangers and lines that broke."""
        now = time.monotonic()
        if self._span.rank and not self._lines and now >= self._next_call:
            self._call(now)
        beat = self._beat() if now >= self._next_beat else None
        self._next_beat = now + _BEAT_S if beat else self._next_beat
        for line in [*self._lines]:
            try:
                self._serve(line, beat, now)
            except (OSError, WireError):
                self._drop(line)

    def _serve(self, line: Line, beat: dict[str, Any] | None, now: float) -> None:
        if line.rank is None and now - line.since > _STRANGER_S:
            raise WireError("it said nothing that a peer would say")
        # The first host says nothing to one that has not shown yet that it knows the secret.
        if line.wire.open and (line.rank is not None or self._span.rank):
            if line.told < 0:
                line.say({"kind": "hello", "rank": self._span.rank})
                line.told = 0
            with self._lock:
                news = self._news[line.told :]
            for message in news:
                line.say(message)
            line.told += len(news)
            if beat is not None:
                line.say_beat(beat)
        line.flush()
