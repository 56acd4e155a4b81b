"""What a kept server's run says of it, whatever a host makes of that."""

from __future__ import annotations

import json
from typing import Any

import pytest

from labctl import servers
from labctl.commands.kept import asked_name
from labctl.commands.tunnel import curl, python
from labctl.runner import spec

SPEC: dict[str, Any] = {
    "lab": "server",
    "model": "facebook/opt-125m",
    "workload": {"kind": "hold"},
    "server": {"restarts": 3},
}
RECORD: dict[str, Any] = {
    "run_id": "r1", "status": "running", "spec_sha256": "", "schema": 1,
    "anchor": {"utc": "2026-11-23T03:00:00.500+00:00", "monotonic": 5.0},
    "supervisor": {"pid": 1, "unit": "labctl-server-x.service", "why": None},
}  # fmt: skip
LOADING: list[dict[str, Any]] = [
    {"t": 0.1, "event": "start"},
    {"t": 0.2, "event": "hold", "keyed": True},
    {"t": 0.3, "event": "begin", "phase": "engine"},
]
READY: list[dict[str, Any]] = [
    *LOADING,
    {"t": 40.0, "event": "end", "phase": "engine"},
    {"t": 40.1, "event": "server", "address": "127.0.0.1", "port": 8123, "model": "opt", "chat_template": "none"},
    {"t": 40.2, "event": "open_routes", "tested": 2, "open": [{"path": "/health", "status": 200}], "error": None},
]
DIED: list[dict[str, Any]] = [*READY, {"t": 90.0, "event": "restart", "number": 1, "of": 3, "reason": "it was killed"}]


def kept(rows: list[dict[str, Any]], asked: dict[str, Any] = SPEC, told: dict[str, Any] = RECORD) -> servers.Kept:
    files = {
        "spec.json": spec.from_dict(asked).to_json().encode(),
        "record.json": json.dumps(told).encode(),
        "events.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode(),
    }
    found = servers.read("gpu1", "/lab/runs/r1", files)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("rows", "words", "since"),
    [
        ([], "loading (starting)", "03:00:00"),
        (LOADING, "loading (engine)", "03:00:00"),
        (READY, "ready", "03:00:40"),
        (DIED, "restarting 1/3", "03:01:30"),
        ([*DIED, {"t": 130.0, "event": "server", "port": 8123}], "ready", "03:02:10"),
    ],
)
def test_states(rows: list[dict[str, Any]], words: str, since: str) -> None:
    found = kept(rows)
    assert found.words == words
    assert found.since == f"2026-11-23T{since}+00:00"


def test_what_a_ready_one_says() -> None:
    found = kept(READY)
    assert (found.name, found.model, found.port, found.there) == ("server", "opt", 8123, "127.0.0.1")
    assert (found.keyed, found.chat, found.restarts, found.most) == (True, False, 0, 3)
    assert (found.unit, found.open_routes) == ("labctl-server-x.service", ("/health",))


@pytest.mark.parametrize("port", [-1, 0, 65536, 2**40, True, 8.0, "22", None])
def test_a_port_that_is_none(port: object) -> None:
    assert kept([*READY, {"t": 41.0, "event": "server", "port": port, "model": "m"}]).port is None


def test_one_that_loads_is_where_it_was_asked_to_be() -> None:
    assert kept(LOADING, {**SPEC, "server": {"port": 65535}}).port == 65535
    assert kept(LOADING).port is None


def test_one_that_ended_says_why() -> None:
    failed = {**RECORD, "status": "failed", "ended_s": 100.0, "error": {"message": "killed by signal 9"}}
    assert kept(DIED, told=failed).words == "ended (failed: killed by signal 9)"
    stopped = {**failed, "status": "stopped", "error": {"message": "stopped on request"}}
    assert kept(READY, told=stopped).words == "ended (stopped)"


def test_one_that_binds_everywhere_is_reached_at_its_loopback() -> None:
    assert kept(READY, {**SPEC, "server": {"address": "0.0.0.0"}}).there == "127.0.0.1"  # noqa: S104
    assert kept(READY, {**SPEC, "server": {"address": "10.0.0.5"}}).there == "10.0.0.5"


def test_another_run_is_no_server() -> None:
    asked = spec.from_dict({"lab": "offline", "model": "m", "workload": {"prompts": ["a"]}})
    assert servers.read("gpu1", "/lab/runs/r1", {"spec.json": asked.to_json().encode()}) is None
    assert servers.read("gpu1", "/lab/runs/r1", {}) is None


@pytest.mark.parametrize(
    "harm",
    [
        {"anchor": {"utc": "yesterday"}},
        {"anchor": {}},
        {"supervisor": {"unit": ["a"], "why": 7}},
        {"status": "failed", "ended_s": "soon", "error": {"message": ["x"]}},
        {"status": "failed", "ended_s": 1e300},
    ],
)
def test_a_record_of_an_odd_shape_costs_nothing(harm: dict[str, Any]) -> None:
    assert kept(READY, told={**RECORD, **harm}).name == "server"


@pytest.mark.parametrize(
    "row",
    [
        {"t": 41.0, "event": "server", "port": "ssh", "model": ["m"]},
        {"t": 41.0, "event": "open_routes", "open": {"a": 1}},
        {"t": 41.0, "event": "open_routes", "open": [1, None, {}]},
        {"t": 1e400, "event": "server"},
        {"t": True, "event": "restart"},
    ],
)
def test_events_of_an_odd_shape_cost_nothing(row: dict[str, Any]) -> None:
    assert kept([*READY, row]).name == "server"


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b"\xff", b'{"schema": 99}'])
def test_a_broken_spec_is_no_server(broken: bytes) -> None:
    assert servers.read("gpu1", "/lab/runs/r1", {"spec.json": broken}) is None


HEAD = "t,phase,gpu,gpu_mem_used,gpu_mem_total\n"


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("", None),
        (HEAD, None),
        (HEAD + "1.0,up,,,\n", None),
        (HEAD + "1.0,up,0,5,80\n2.0,up,0,7,80\n2.0,up,1,3,80\n", 10),
        (HEAD + "1.0,up,0,5,80\n2.0,up,0,7", 5),
        (HEAD + "1.0,up,0,5,80\n0,77\n2.0,up,0,6,80\n", 6),
    ],
)
def test_gpu_memory_of_the_last_sample(text: str, used: int | None) -> None:
    assert servers.last_gpu_memory(text) == used


@pytest.mark.parametrize(
    ("lab", "name"), [("server-7b", "server-7b"), ("my lab.v2", "my-lab-v2"), ("ä", "server"), ("x" * 60, "x" * 40)]
)
def test_a_labs_name_as_a_servers(lab: str, name: str) -> None:
    assert asked_name(lab) == name


def test_a_hosts_words_stay_words_in_the_lines_to_paste() -> None:
    evil = "m'; touch /tmp/owned; '\"\n"
    found = kept([*READY, {"t": 41.0, "event": "server", "port": 1, "model": evil, "chat_template": "model"}])
    line = curl(1, found, None)
    assert "'\"'\"'" in line
    assert json.dumps(evil) in python(1, found, None)
    compile(python(1, found, None), "pasted", "exec")
