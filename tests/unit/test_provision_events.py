from __future__ import annotations

import io
import json
from typing import Any, Self

import pytest

from labctl.provision_events import Failure, Progress

STATS = {"ok": 3, "changed": 1, "failures": 0, "unreachable": 0, "skipped": 2, "rescued": 0, "ignored": 0}


def _result(task: str, status: str, msg: str = "", stderr: str = "") -> dict[str, Any]:
    return {"event": "result", "task": task, "status": status, "msg": msg, "stderr": stderr}


def test_a_line_a_task_and_the_sums() -> None:
    lines: list[str] = []
    progress = Progress(lines.append)
    for event in [
        {"event": "task", "task": "preflight : Validating arguments against arg spec 'main' - Look"},
        _result("preflight : Validating arguments against arg spec 'main' - Look", "ok"),
        {"event": "task", "task": "python_env : Install uv"},
        _result("python_env : Install uv", "changed"),
        _result("vllm : Build", "skipped"),
        _result("vllm : Refuse", "ok"),
        {"event": "stats", "hosts": {"local": STATS}},
    ]:
        progress.take(event)
    assert lines == ["  changed  python_env : Install uv", "  ok       vllm : Refuse"]
    assert progress.recap == {"ok": 3, "changed": 1, "failed": 0, "skipped": 2}
    assert progress.failure is None


def test_a_long_task_is_announced_and_then_its_end_told() -> None:
    lines: list[str] = []
    progress = Progress(lines.append)
    progress.take({"event": "task", "task": "vllm : Prove"})
    progress.announce()
    progress.take(_result("vllm : Prove", "ok"))
    assert lines == ["  ...      vllm : Prove", "  ok       vllm : Prove"]


def test_what_a_task_has_to_say_is_passed_on() -> None:
    lines: list[str] = []
    Progress(lines.append).take({**_result("system_packages : Fall back", "ok", "no\n g++"), "note": True})
    assert lines == ["  ok       system_packages : Fall back: no g++"]


def test_the_first_failure_is_kept_with_the_end_of_what_was_said() -> None:
    progress = Progress(lambda _line: None)
    said = "\n".join(f"line {number}" for number in range(20))
    progress.take(_result("vllm : Install", "failed", "non-zero\n return code", said))
    progress.take(_result("vllm : Other", "failed", "later"))
    assert str(progress.failure).startswith("vllm : Install: non-zero return code\nline 12\n")
    assert str(progress.failure).endswith("line 19")


def test_an_unreachable_host_is_a_failure() -> None:
    progress = Progress(lambda _line: None)
    progress.take(_result("preflight : Look at the host", "unreachable", "no route"))
    progress.take({"event": "stats", "hosts": {"gpu1": {**STATS, "unreachable": 1}}})
    assert progress.failure == Failure("preflight : Look at the host", "no route", unreachable=True)
    assert progress.recap is not None
    assert progress.recap["failed"] == 1


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (
            "ssh: connect to host 10.0.0.1 port 22: Connection refused\r\n",
            "ssh: connect to host 10.0.0.1 port 22: Connection refused",
        ),
        (
            "*** Welcome ***\nAll is logged.\n\nme@10.0.0.1: Permission denied (publickey).",
            "All is logged.; me@10.0.0.1: Permission denied (publickey).",
        ),
        (
            "@@@@@@\n@  REMOTE HOST IDENTIFICATION HAS CHANGED!  @\n@@@@@@\nThe key for x has changed.\r\nIt failed.",
            "The key for x has changed.; It failed.",
        ),
        (
            "It failed.\r\nkex_exchange_identification: Connection closed by remote host\r\n",
            "It failed.",
        ),
        ("Permission denied\nConnection closed by UNKNOWN port 65535", "Permission denied"),
        ("Connection closed by UNKNOWN port 65535", "Connection closed by UNKNOWN port 65535"),
        ("", ""),
    ],
)
def test_of_a_line_that_failed_the_last_words_of_ssh_are_kept(said: str, kept: str) -> None:
    progress = Progress(lambda _line: None)
    wrapped = f"Task failed: Failed to connect to the host via ssh: {said}"
    progress.take(_result("preflight : Look for a Python", "unreachable", wrapped))
    assert progress.failure is not None
    assert progress.failure.message == kept


def test_a_host_without_room_is_not_called_unreachable() -> None:
    progress = Progress(lambda _line: None)
    progress.take(
        _result("vllm : Bring the lock", "unreachable", "Failed to create temporary directory. In some cases")
    )
    assert progress.failure is not None
    assert not progress.failure.unreachable


def test_what_ansible_wraps_a_message_in_is_taken_off() -> None:
    progress = Progress(lambda _line: None)
    progress.take(_result("system_packages : Try the sudo password", "failed", "Task failed: Incorrect sudo password"))
    assert progress.failure is not None
    assert progress.failure.message == "Incorrect sudo password"


def test_ansible_that_dies_before_its_end_leaves_no_recap() -> None:
    progress = Progress(lambda _line: None)
    progress.take({"event": "task", "task": "vllm : Install"})
    assert progress.recap is None


class Trickle(io.BytesIO):
    """A pipe that gives seven bytes at a time."""

    def read1(self, _size: int | None = -1, /) -> bytes:
        return self.read(7)


class AlwaysReady:
    """A selector that never waits."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def register(self, *_: object) -> None:
        pass

    def select(self, _timeout: float | None) -> list[int]:
        return [1]


def test_events_are_split_wherever_the_pipe_cuts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(json.dumps(event) + "\n" for event in [_result("a", "changed"), _result("b", "changed")])
    lines: list[str] = []
    monkeypatch.setattr("labctl.provision_events.selectors.DefaultSelector", AlwaysReady)
    Progress(lines.append).follow(Trickle(text.encode()))
    assert lines == ["  changed  a", "  changed  b"]
