"""Who of a span is alive, who ended it, and that nothing a peer says breaks the one who hears it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.runner.peer_book import BROKEN_S, SILENT_S, End, Peer, cause

HOSTS = ("gpu1", "gpu2", "gpu3")
KEYS = ("kind", "phase", "ready", "model", "tail", "node", "status", "host", "message", "age", "cause")
ANY = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text() | st.integers()),
    st.sampled_from(["beat", "node", "go", "end", "ok", "failed", "stopped", *HOSTS]),
)  # fmt: skip


def beaten(now: float = 100.0, **more: Any) -> Peer:
    peer = Peer(1, "gpu2")
    peer.take({"kind": "beat", "phase": "serving", "tail": ["one", "the last"], **more}, now, HOSTS)
    return peer


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(KEYS), ANY)))
def test_whatever_is_said_is_noted_or_left_out(messages: list[dict[str, Any]]) -> None:
    peer = Peer(1, "gpu2")
    for message in messages:
        peer.take(message, 100.0, HOSTS)
    for end in (peer.end, peer.dead(1000.0)):
        if end:
            assert end.status in {"ok", "failed", "stopped"}
            assert end.host in HOSTS
            assert all(isinstance(line, str) for line in end.tail)
            end.told(1000.0)


def test_one_that_was_never_heard_is_not_dead() -> None:
    assert Peer(1, "gpu2").dead(10_000.0) is None


def test_silence_ends_a_peer_with_its_last_words() -> None:
    peer = beaten()
    assert peer.dead(100 + SILENT_S) is None
    end = peer.dead(101 + SILENT_S)
    assert end is not None
    assert (end.host, end.status, end.tail, end.cause) == ("gpu2", "failed", ("one", "the last"), "killed")
    assert "not a word for 21 s in phase serving" in end.message
    assert end.message.endswith("its last line was: the last")


def test_a_line_that_broke_gets_a_moment() -> None:
    peer = beaten()
    peer.lost = 101.0
    assert peer.dead(101 + BROKEN_S) is None
    end = peer.dead(102 + BROKEN_S)
    assert end is not None
    assert (end.at, "went silent" in end.message) == (101.0, True)
    peer.take({"kind": "hello"}, 103.0, HOSTS)
    assert peer.dead(102 + BROKEN_S) is None, "it called again"


def test_who_said_how_it_ended_is_not_silent() -> None:
    peer = beaten()
    peer.take({"kind": "end", "status": "failed", "message": "killed", "age": 2.0, "tail": ["x"]}, 110.0, HOSTS)
    assert peer.dead(10_000.0) is None
    assert peer.end == End("failed", "gpu2", "killed", 108.0, ("x",))


def test_another_host_may_be_at_fault_but_only_one_of_the_span() -> None:
    for host, blamed in (("gpu3", "gpu3"), ("elsewhere", "gpu2"), (7, "gpu2")):
        peer = beaten()
        peer.take({"kind": "end", "status": "failed", "host": host}, 110.0, HOSTS)
        assert peer.end is not None
        assert peer.end.host == blamed


def test_a_log_that_said_nothing_new_is_kept() -> None:
    peer = beaten()
    peer.take({"kind": "beat", "phase": "serving"}, 101.0, HOSTS)
    assert peer.tail == ["one", "the last"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (End("failed", "gpu2", "", 5.0), End("failed", "gpu1", "", 6.0)),
        # What was killed did not die of the others, even where they fell first.
        (End("failed", "gpu2", "", 7.0, cause="killed"), End("failed", "gpu1", "", 6.0)),
        # As when a worker is killed: the other host loses its connection, and is through with dying first.
        (End("failed", "gpu2", "", 7.0), End("failed", "gpu1", "", 6.0, cause="followed")),
    ],
)
def test_which_end_explains_the_other(first: End, second: End) -> None:
    assert min(first, second, key=lambda end: end.order) is first
    assert min(second, first, key=lambda end: end.order) is first


# Lines of real runs (vLLM 0.32.0 on CPU, tensor parallel over two hosts, gpu2's worker killed with SIGKILL).
GLOO = "RuntimeError: [gloo/transport/tcp/pair.cc:553] Connection closed by peer [172.17.0.1]:35742. This is typically"
MONITOR = "Worker proc VllmWorker-1 died unexpectedly (exit code: None), shutting down executor."


@pytest.mark.parametrize(
    ("message", "log", "expected"),
    [
        ("vllm serve was killed by signal 9 while it was up", [], "killed"),
        # Its own client saw the connection go, of course.
        ("vllm serve was killed by signal 9 while it was up", ["Connection reset by peer"], "killed"),
        (f"its part of vLLM ended by itself with exit status 0: {MONITOR}", [MONITOR], "killed"),
        (f"vllm serve ended with exit status 0 while it was up: {GLOO}", [GLOO], "followed"),
        # A worker whose partner was killed dies too, and is watched in the same way.
        (f"its part of vLLM ended by itself with exit status 0: {MONITOR}", [GLOO, MONITOR], "followed"),
        ("ValueError: no such layer", ["ValueError: no such layer"], "failed"),
    ],
)
def test_what_a_failure_was(message: str, log: list[str], expected: str) -> None:
    assert cause(message, log) == expected
