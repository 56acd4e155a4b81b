"""Three supervisors' joints over real sockets on loopback: they meet, one of them dies, and all name the same one."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import ending, peer_book, peer_line, rundir
from labctl.runner.joint import READY, Joint
from labctl.runner.peer_line import Line, PeerError
from labctl.runner.placement import Span
from labctl.runner.redact import Redactor
from tests.e2e.conftest import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOSTS = ("gpu1", "gpu2", "gpu3")
SECRET = "the secret of this span"  # noqa: S105 - of this test
NODE = {"name": "n", "machine": {"cpu": 1}, "packages": {"vllm": "0.32.0"}}


class Three:
    """Joints by host; what each one's log says can be set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.joints: dict[str, Joint] = {}

    def join(self, host: str, token: str = SECRET) -> Joint:
        rank = HOSTS.index(host)
        run_dir = self.folder / host
        (run_dir / "machine").mkdir(parents=True)
        (run_dir / "logs").mkdir()
        span = Span(hosts=HOSTS, addresses=("127.0.0.1",) * 3, runs=("a", "b", "c"), rank=rank, peer_port=self.port)
        self.joints[host] = Joint(run_dir, span, token, Redactor({}))
        return self.joints[host]

    def says(self, host: str, log: str, *events: dict[str, Any]) -> None:
        (self.folder / host / rundir.ENGINE_LOG).write_text(log)
        rows = "".join(json.dumps({"t": 1.0, **row}) + "\n" for row in events)
        (self.folder / host / rundir.EVENTS).write_text(rows)

    def meet(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}

        def gather(host: str) -> None:
            found[host] = self.joints[host].gather({**NODE, "name": host}, lambda: False)

        together([lambda host=host: gather(host) for host in HOSTS])
        return found

    def settle(self, *hosts: str, code: int | None = None) -> dict[str, ending.Outcome]:
        outcomes = {host: ending.Outcome(code=code) for host in hosts}
        together([lambda host=host: self.joints[host].settle(outcomes[host]) for host in hosts])
        return outcomes


def together(actions: list[Any]) -> None:
    threads = [threading.Thread(target=action) for action in actions]
    for one in threads:
        one.start()
    for one in threads:
        one.join(timeout=60)
        assert not one.is_alive()


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Three]:
    made = Three(tmp_path)
    yield made
    with ExitStack() as closing:
        for one in made.joints.values():
            closing.callback(one.peers.close, 0.0)


@pytest.fixture
def met(three: Three) -> Three:
    for host in HOSTS:
        three.join(host)
    three.meet()
    return three


def test_they_meet_whoever_comes_first(three: Three) -> None:
    three.join("gpu3")
    three.join("gpu2")
    time.sleep(0.7)
    three.join("gpu1")
    found = three.meet()
    assert [(node["host"], node["name"], node["run"]) for node in found["gpu1"]] == [
        ("gpu2", "gpu2", "b"), ("gpu3", "gpu3", "c"),
    ]  # fmt: skip
    assert found["gpu2"] == found["gpu3"] == []
    for rank, node in enumerate(found["gpu1"], 1):
        assert json.loads((three.folder / "gpu1" / f"machine/node-{rank}.json").read_text()) == node


def test_one_without_the_secret_is_not_met(three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labctl.runner.joint.MEET_S", 1.5)
    three.join("gpu1")
    three.join("gpu2")
    three.join("gpu3", "another")
    for host in ("gpu2", "gpu3"):
        three.joints[host].peers.say({"kind": "node", "node": NODE})
    with pytest.raises(PeerError, match=r"^nothing was heard of gpu3 within 2 s .* 127\.0\.0\.1 port"):
        three.joints["gpu1"].gather(dict(NODE), lambda: False)


def test_without_a_secret_nothing_begins(three: Three) -> None:
    with pytest.raises(PeerError, match="never arrived"):
        three.join("gpu1", "")


def test_the_port_of_another_program_is_named(three: Three) -> None:
    with socket.create_server(("127.0.0.1", three.port)), pytest.raises(PeerError, match="gpu1 cannot listen on"):
        three.join("gpu1")


def test_an_end_that_goes_well(met: Three) -> None:
    met.says("gpu1", "", {"event": "begin", "phase": "engine"}, {"event": "end", "phase": "engine"})
    until(lambda: met.joints["gpu2"].over() is None and (met.folder / "gpu2" / READY).exists(), within=10)
    threading.Thread(target=met.settle, args=("gpu1",), kwargs={"code": 0}).start()
    for host in ("gpu2", "gpu3"):
        until(met.joints[host].over, within=10)
        assert met.joints[host].over().status == "ok"  # type: ignore[union-attr]
    outcomes = met.settle("gpu2", "gpu3", code=0)
    assert all(outcome.error is None and not outcome.stopped for outcome in outcomes.values())


def test_the_third_hears_of_the_second_through_the_first(met: Three) -> None:
    met.says("gpu2", "     1.000 CUDA error: an illegal memory access\n", {"event": "begin", "phase": "serving"})
    outcomes = {host: ending.Outcome(code=1 if host == "gpu2" else -15) for host in HOSTS}

    def end(host: str) -> None:
        if host != "gpu2":
            until(met.joints[host].over, within=15)
        met.joints[host].settle(outcomes[host])

    together([lambda host=host: end(host) for host in HOSTS])
    assert outcomes["gpu2"].error is None, "its own error stands in its own record"
    for host in ("gpu1", "gpu3"):
        error = outcomes[host].error
        assert error is not None
        assert (error["kind"], error["node"]) == ("peer", "gpu2")
        assert error["log_tail"] == ["     1.000 CUDA error: an illegal memory access"]


def test_who_lost_a_connection_is_not_to_blame(met: Three) -> None:
    met.says("gpu1", "     1.000 gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.0.0.2]:35742\n")
    met.says(
        "gpu2", "     1.000 Worker proc VllmWorker-1 died unexpectedly (exit code: None), shutting down executor.\n"
    )
    outcomes = {host: ending.Outcome(code=1) for host in HOSTS}

    def end(host: str, after: float) -> None:
        time.sleep(after)
        if host == "gpu3":
            until(met.joints[host].over, within=15)
        met.joints[host].settle(outcomes[host])

    # The first host is through with dying before the one that was killed has said a word.
    together([lambda: end("gpu1", 0.0), lambda: end("gpu2", 2.0), lambda: end("gpu3", 0.0)])
    assert outcomes["gpu2"].error is None
    assert [(outcomes[host].error or {}).get("node") for host in ("gpu1", "gpu3")] == ["gpu2", "gpu2"]


def test_a_stop_anywhere_stops_all(met: Three) -> None:
    outcomes = {host: ending.Outcome(code=-15, stopped=host == "gpu3") for host in HOSTS}

    def end(host: str) -> None:
        if host != "gpu3":
            until(met.joints[host].over, within=15)
        met.joints[host].settle(outcomes[host])

    together([lambda host=host: end(host) for host in HOSTS])
    assert all(one.stopped for one in outcomes.values())
    assert outcomes["gpu3"].why == "stopped on request"
    assert outcomes["gpu1"].why == outcomes["gpu2"].why == "stopped on gpu3"


def test_another_model_is_refused_by_name(met: Three) -> None:
    for host in HOSTS:
        met.says(host, "", {"event": "span", "model": "aaaa" if host != "gpu3" else "bbbb"})
    until(met.joints["gpu1"].over, within=10)
    end = met.joints["gpu1"].over()
    assert end is not None
    assert (end.host, end.message) == (
        "gpu3", "its model (bbbb) is not the one on gpu1 (aaaa): they must be the same",
    )  # fmt: skip


def test_one_that_is_gone_without_a_word_ends_the_others(met: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_book, "BROKEN_S", 1.0)
    met.says("gpu2", "     9.000 its last words\n")
    until(lambda: met.joints["gpu1"].peers.book[1].tail, within=5)
    dying = met.joints["gpu2"].peers
    monkeypatch.setattr("labctl.runner.peer_line.call", lambda _span: None)
    for line in [*dying._lines]:
        with suppress(OSError):
            line.sock.shutdown(socket.SHUT_RDWR)
    until(met.joints["gpu1"].over, within=10)
    end = met.joints["gpu1"].over()
    assert end is not None
    assert (end.host, end.tail, end.cause) == ("gpu2", ("     9.000 its last words",), "killed")


def strangers(port: int, many: int, source: str = "127.0.0.1") -> list[socket.socket]:
    """Callers that begin as a peer would, and never go on."""
    found = [socket.create_connection(("127.0.0.1", port), source_address=(source, 0)) for _ in range(many)]
    for one in found:
        with suppress(OSError):
            one.sendall(b"labctl-peer 1 ")
    return found


def test_strangers_take_no_place_from_a_peer(three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labctl.runner.peers._STRANGERS", 4)
    first = three.join("gpu1")
    callers = strangers(three.port, 12)
    until(lambda: len(first.peers._lines) == 4, within=5)
    for host in ("gpu2", "gpu3"):
        three.join(host)
    began = time.monotonic()
    three.meet()
    assert time.monotonic() - began < 4, "before any stranger has to go for its silence"
    for one in callers:
        one.close()


def test_who_may_be_a_peer_is_the_last_to_go(three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    """The strangers come later than the peer, but not from an address of the span."""
    monkeypatch.setattr("labctl.runner.peers._STRANGERS", 4)
    first = three.join("gpu1")
    with socket.create_connection(("127.0.0.1", three.port)) as slow:
        until(lambda: [line.likely for line in first.peers._lines] == [True], within=5)
        callers = strangers(three.port, 12, "127.0.0.9")
        until(lambda: [line.likely for line in first.peers._lines].count(False) == 3, within=5)
        assert [line.likely for line in first.peers._lines].count(True) == 1
        assert slow.recv(14) == b"labctl-peer 1 "
    for one in callers:
        one.close()


def test_a_stranger_that_drips_delays_no_end(met: Three) -> None:
    callers, over = strangers(met.port, 6), threading.Event()

    def drip() -> None:
        while not over.wait(0.2):
            for one in callers:
                with suppress(OSError):
                    one.sendall(b"0")

    dripping = threading.Thread(target=drip)
    dripping.start()
    until(lambda: len(met.joints["gpu1"].peers._lines) == 8, within=5)
    outcomes = {host: ending.Outcome(code=-15, stopped=host == "gpu1") for host in HOSTS}
    began = time.monotonic()

    def end(host: str) -> None:
        if host != "gpu1":
            until(met.joints[host].over, within=15)
        met.joints[host].settle(outcomes[host])

    together([lambda host=host: end(host) for host in HOSTS])
    took = time.monotonic() - began
    over.set()
    dripping.join()
    for one in callers:
        one.close()
    assert took < 5
    assert all(one.stopped for one in outcomes.values())


def test_a_peer_that_drips_delays_the_end_by_two_seconds() -> None:
    here, there = socket.socketpair()
    over = threading.Event()

    def drip() -> None:
        while not over.wait(0.2):
            there.send(b"0")

    dripping = threading.Thread(target=drip)
    dripping.start()
    began = time.monotonic()
    peer_line.hang_up([Line(here, SECRET, listener=False)])
    took = time.monotonic() - began
    over.set()
    dripping.join()
    here.close()
    there.close()
    assert 1.5 < took < 3


def test_bad_characters_of_a_peer_cost_the_head_nothing(three: Three) -> None:
    for host in HOSTS:
        three.join(host)
    found: list[Any] = []
    bad = {"name": "n", "machine": {"os\ud800": "\udfff"}, "packages": {}}

    def gather(host: str) -> None:
        nodes = three.joints[host].gather(dict(bad) if host == "gpu2" else dict(NODE), lambda: False)
        found.extend(nodes)

    together([lambda host=host: gather(host) for host in HOSTS])
    three.joints["gpu2"].peers.say(peer_book.End("failed", "gpu2", "died \ud800", 0.0, ("\udcff",)).told(1.0))
    until(three.joints["gpu1"].over, within=10)
    outcome = ending.Outcome(code=-15)
    three.joints["gpu1"]._adopt(outcome, three.joints["gpu1"].over())  # type: ignore[arg-type]
    assert outcome.error is not None
    assert (outcome.error["message"], outcome.error["log_tail"]) == ("gpu2: died ?", ["?"])
    assert found[0]["machine"] == {"os?": "?"}
    assert json.loads((three.folder / "gpu1/machine/node-1.json").read_text()) == found[0]
