from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Self

from labctl.provision_events import Progress

if TYPE_CHECKING:
    import pytest

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
    assert progress.failure == ""


def test_a_long_task_is_announced_and_then_its_end_told() -> None:
    lines: list[str] = []
    progress = Progress(lines.append)
    progress.take({"event": "task", "task": "vllm : Prove"})
    progress.announce()
    progress.take(_result("vllm : Prove", "ok"))
    assert lines == ["  ...      vllm : Prove", "  ok       vllm : Prove"]


def test_what_a_task_has_to_say_is_passed_on() -> None:
    lines: list[str] = []
    Progress(lines.append).take({**_result("system_packages : Fall back", "ok", "no g++"), "note": True})
    assert lines == ["  ok       system_packages : Fall back: no g++"]


def test_the_first_failure_is_kept_with_the_end_of_what_was_said() -> None:
    progress = Progress(lambda _line: None)
    said = "\n".join(f"line {number}" for number in range(20))
    progress.take(_result("vllm : Install", "failed", "non-zero\n return code", said))
    progress.take(_result("vllm : Other", "failed", "later"))
    assert progress.failure.startswith("vllm : Install: non-zero return code\nline 12\n")
    assert progress.failure.endswith("line 19")


def test_an_unreachable_host_is_a_failure() -> None:
    progress = Progress(lambda _line: None)
    progress.take(_result("preflight : Look at the host", "unreachable", "no route"))
    progress.take({"event": "stats", "hosts": {"gpu1": {**STATS, "unreachable": 1}}})
    assert "no route" in progress.failure
    assert progress.recap is not None
    assert progress.recap["failed"] == 1


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
