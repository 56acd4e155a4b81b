"""The same work on many hosts: whose failure is whose, and what leaving means."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from labctl import fleet
from labctl.errors import EXIT_IO, HostKeyError, LabError, UnreachableError
from labctl.inventory import Host

if TYPE_CHECKING:
    from collections.abc import Callable


def hosts(*names: str) -> list[Host]:
    return [Host(name=name, connection="ssh", lab_dir="labctl", address=name) for name in names]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only sleep moves: [now]."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", sleep)
    return now


def act(host: Host, _: fleet.Leave) -> str:
    failures: dict[str, Callable[[], Exception]] = {
        "down": lambda: UnreachableError("no answer", "labctl doctor"),
        "changed": lambda: HostKeyError("CHANGED"),
        "full": lambda: OSError(28, "No space left on device"),
        "left": fleet.LeftError,
    }
    if host.name in failures:
        error = failures[host.name]()
        raise error
    return host.name.upper()


def test_each_host_has_its_own_outcome_in_the_order_given() -> None:
    found = fleet.each(hosts("b", "down", "a", "full", "changed"), act)
    assert [one.host.name for one in found] == ["b", "down", "a", "full", "changed"]
    assert [one.value for one in found] == ["B", None, "A", None, None]
    assert [one.code for one in found] == [0, 4, 0, EXIT_IO, 5]
    assert [one.next_command for one in found] == ["", "labctl doctor", "", "", ""]
    assert found[0].result() == "B"
    for one in (found[1], found[3], found[4]):
        assert one.error is not None
        with pytest.raises(type(one.error)):
            one.result()


def test_no_hosts_no_outcomes() -> None:
    assert fleet.each([], act) == []


def test_who_was_left_has_neither_value_nor_error() -> None:
    [one] = fleet.each(hosts("left"), act)
    assert (one.value, one.error, one.code) == (None, None, 0)


def test_all_work_at_once() -> None:
    together = threading.Barrier(20)
    found = fleet.each(hosts(*map(str, range(20))), lambda *_: together.wait(timeout=10))
    assert sorted(one.result() for one in found) == list(range(20))


@pytest.mark.parametrize("defect", [ValueError("a defect"), SystemExit(3)])
def test_a_defect_is_raised_once_the_others_are_done(defect: BaseException) -> None:
    done: list[str] = []

    def work(host: Host, _: fleet.Leave) -> None:
        if host.name == "bad":
            raise defect
        done.append(host.name)

    with pytest.raises(type(defect)):
        fleet.each(hosts("bad", "a", "b"), work)
    assert sorted(done) == ["a", "b"]


def test_the_table_is_drawn_while_they_work() -> None:
    drawn, enough = [], threading.Event()

    def tick() -> None:
        drawn.append(1)
        if len(drawn) > 1:
            enough.set()

    [one] = fleet.each(hosts("a"), lambda *_: enough.wait(timeout=10), tick)
    assert one.result() is True


def test_leaving_is_told_to_every_thread_and_waits_for_who_is_busy(clock: list[float]) -> None:
    inside, left, finished = threading.Event(), threading.Event(), threading.Event()

    def work(host: Host, leave: fleet.Leave) -> str:
        if host.name == "starting":
            with leave.busy():
                inside.set()
                left.wait(timeout=10)
            finished.set()
        else:
            inside.wait(timeout=10)
            left.wait(timeout=10)
            leave.check()
        return "came through"

    def interrupt() -> None:
        if inside.is_set():
            left.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fleet.each(hosts("starting", "following"), work, interrupt)
    assert finished.wait(timeout=10)
    assert clock[0] <= fleet._LEAVE_S + fleet._TICK_S


def test_nobody_waits_longer_for_a_start_that_hangs(clock: list[float]) -> None:
    leave = fleet.Leave()
    with leave.busy():
        leave.wait(5.0)
    assert clock[0] == pytest.approx(5.0, abs=0.2)
    leave.wait(5.0)
    assert clock[0] == pytest.approx(5.0, abs=0.2)


def test_who_has_left_starts_nothing_more() -> None:
    leave = fleet.Leave()
    leave.check()
    with leave.busy():
        leave.ask()
    with pytest.raises(fleet.LeftError):
        leave.check()
    with pytest.raises(fleet.LeftError), leave.busy():
        raise AssertionError


def test_busy_ends_with_an_error_too(clock: list[float]) -> None:
    leave = fleet.Leave()
    with pytest.raises(LabError), leave.busy():
        raise LabError("no")
    leave.wait(5.0)
    assert clock[0] == 0
