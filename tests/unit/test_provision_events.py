from __future__ import annotations

from typing import Any

import pytest

from labctl.provision.events import PATIENCE_S, Failure, Progress, read

STATS = {"ok": 3, "changed": 1, "failed": 0, "skipped": 2, "rescued": 0}


def _result(task: str, status: str, msg: str = "", stderr: str = "") -> dict[str, Any]:
    return {"event": "result", "task": task, "status": status, "msg": msg, "stderr": stderr}


def test_a_line_a_task_and_the_sums() -> None:
    lines: list[str] = []
    progress = Progress(lines.append, clock=float)
    for event in [
        {"event": "start", "task": "preflight : Validating arguments against arg spec 'main' - Look"},
        _result("preflight : Validating arguments against arg spec 'main' - Look", "ok"),
        {"event": "start", "task": "python_env : Install uv"},
        _result("python_env : Install uv", "changed"),
        _result("vllm : Build", "skipped"),
        _result("vllm : Refuse", "ok"),
        {"event": "stats", "sums": STATS},
    ]:
        progress.take(event)
    assert lines == ["  changed  python_env : Install uv", "  ok       vllm : Refuse"]
    assert progress.recap == {"ok": 3, "changed": 1, "failed": 0, "skipped": 2}
    assert progress.failure is None


def test_a_long_task_is_announced_and_then_its_end_told() -> None:
    now = [100.0]
    lines: list[str] = []
    progress = Progress(lines.append, clock=lambda: now[0])
    progress.take({"event": "start", "task": "vllm : Prove"})
    progress.tick()
    assert lines == []
    now[0] += PATIENCE_S + 0.1
    progress.tick()
    progress.tick()
    progress.take(_result("vllm : Prove", "ok"))
    assert lines == ["  ...      vllm : Prove", "  ok       vllm : Prove"]


def test_what_a_task_has_to_say_is_passed_on() -> None:
    lines: list[str] = []
    Progress(lines.append, clock=float).take({**_result("system_packages : Fall back", "ok", "no\n g++"), "note": True})
    assert lines == ["  ok       system_packages : Fall back: no g++"]


def test_the_first_failure_is_kept_with_the_end_of_what_was_said() -> None:
    progress = Progress(lambda _line: None, clock=float)
    said = "\n".join(f"line {number}" for number in range(20))
    progress.take(_result("vllm : Install", "failed", "non-zero\n return code", said))
    progress.take(_result("vllm : Other", "failed", "later"))
    assert str(progress.failure).startswith("vllm : Install: non-zero return code\nline 12\n")
    assert str(progress.failure).endswith("line 19")


def test_an_unreachable_host_is_a_failure() -> None:
    progress = Progress(lambda _line: None, clock=float)
    progress.take(_result("preflight : Look at the host", "unreachable", "no route"))
    progress.take({"event": "stats", "sums": {**STATS, "failed": 1}})
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
    progress = Progress(lambda _line: None, clock=float)
    wrapped = f"Task failed: Failed to connect to the host via ssh: {said}"
    progress.take(_result("preflight : Look for a Python", "unreachable", wrapped))
    assert progress.failure is not None
    assert progress.failure.message == kept


def test_a_host_without_room_is_not_called_unreachable() -> None:
    progress = Progress(lambda _line: None, clock=float)
    progress.take(
        _result("vllm : Bring the lock", "unreachable", "Failed to create temporary directory. In some cases")
    )
    assert progress.failure is not None
    assert not progress.failure.unreachable


def test_what_ansible_wraps_a_message_in_is_taken_off() -> None:
    progress = Progress(lambda _line: None, clock=float)
    progress.take(_result("system_packages : Try the sudo password", "failed", "Task failed: Incorrect sudo password"))
    assert progress.failure is not None
    assert progress.failure.message == "Incorrect sudo password"


def test_ansible_that_dies_before_its_end_leaves_no_recap() -> None:
    progress = Progress(lambda _line: None, clock=float)
    progress.take({"event": "start", "task": "vllm : Install"})
    assert progress.recap is None


def test_what_a_rescue_made_good_is_no_failure() -> None:
    progress = Progress(lambda _line: None, clock=float)
    progress.take(_result("vllm : Try", "failed", "no"))
    progress.take({"event": "stats", "sums": {**STATS, "rescued": 1}})
    assert progress.failure is None


def test_what_only_passes_is_told_apart_from_news() -> None:
    news: list[str] = []
    passing: list[str] = []
    doing: list[str] = []
    progress = Progress(news.append, passing.append, doing.append, clock=float)
    progress.take({"event": "start", "task": "vllm : Look"})
    progress.take(_result("vllm : Look", "ok"))
    progress.take(_result("vllm : Install", "changed"))
    assert (news, passing) == (["  changed  vllm : Install"], ["  ok       vllm : Look"])
    assert doing == ["vllm : Look", "", ""]


def _event(kind: str, **data: Any) -> dict[str, Any]:
    """As ansible-runner 2.4.3 gives it."""
    told = {"host": "gpu1", "role": "vllm", "task": "Install", "task_action": "ansible.builtin.command", **data}
    return {"event": kind, "uuid": "u", "counter": 1, "stdout": "", "pid": 7, "event_data": told}


def test_events_of_ansible_runner_are_read() -> None:
    place = {"host": "gpu1", "role": "vllm", "task": "vllm : Install"}
    assert read(_event("runner_on_start")) == {"event": "start", **place}
    found = read(_event("runner_on_ok", duration=1.2345, res={"changed": True, "msg": "done", "stderr": "x" * 5000}))
    end = {"status": "changed", "seconds": 1.23, "msg": "done", "stderr": "x" * 4000, "note": False}
    assert found == {"event": "result", **place, **end}
    assert read(_event("playbook_on_task_start")) is None
    assert read({"event": "verbose", "stdout": "x"}) is None
    assert read(_event("runner_on_ok", task_action="ansible.builtin.include_tasks", res={})) is None


@pytest.mark.parametrize(
    ("kind", "data", "status", "said"),
    [
        ("runner_on_failed", {"res": {"msg": "no"}}, "failed", "no"),
        ("runner_on_failed", {"res": {"msg": "no"}, "ignore_errors": True}, "ignored", "no"),
        ("runner_on_failed", {"res": {"censored": "hidden", "msg": ""}}, "failed", "hidden"),
        (
            "runner_on_failed",
            {"res": {"msg": "One or more items failed", "results": [{"msg": "a"}, {"failed": True, "msg": "b"}]}},
            "failed",
            "b",
        ),
        ("runner_on_unreachable", {"res": {"msg": "no route"}}, "unreachable", "no route"),
        ("runner_on_skipped", {}, "skipped", ""),
    ],
)
def test_every_end_of_a_task_is_read(kind: str, data: dict[str, Any], status: str, said: str) -> None:
    found = read(_event(kind, **data))
    assert found is not None
    assert (found["status"], found["msg"]) == (status, said)


def test_sums_are_read_for_each_host() -> None:
    sums = {"processed": {"a": 1, "b": 1}, "ok": {"a": 5}, "changed": {"a": 1}, "failures": {"b": 1}, "dark": {"b": 1}}
    found = read({"event": "playbook_on_stats", "event_data": {**sums, "skipped": {}, "rescued": {"a": 2}}})
    assert found is not None
    assert found["hosts"] == {
        "a": {"ok": 5, "changed": 1, "failed": 0, "skipped": 0, "rescued": 2},
        "b": {"ok": 0, "changed": 0, "failed": 2, "skipped": 0, "rescued": 0},
    }
