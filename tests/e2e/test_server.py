"""Mode server with the real vLLM: what the tutorial sends, what is kept of it, and what goes wrong with a server."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import chat_template, events, processes, prom, rundir, wire
from labctl.runner.api import Caller
from labctl.runner.serving import healthy
from tests.e2e.conftest import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labctl.runner.serving import Endpoint
    from tests.e2e.conftest import Project

EAGER = ("--engine", "enforce_eager=true", "--engine", "max_model_len=512")


def calls(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / rundir.CALLS).read_text().splitlines()]


@pytest.fixture(scope="module")
def line(project: Project) -> tuple[Project, str, Path]:
    """One real run of the tutorial's server, eager."""
    said = project("run", "server", "--host", "local", *EAGER)
    return project, said, project.newest()


def test_the_record_of_a_servers_run(line: tuple[Project, str, Path]) -> None:
    project, _, run = line
    told = project.record(run)
    assert told["status"] == "ok"
    names = [phase["name"] for phase in told["phases"]]
    start = ["model", "server_import", "config", "engine_import", "init", "weights", "profiling", "kv_cache"]
    assert names == [*start, "engine_warmup", "ready", *["call"] * 5, "shutdown"]
    server = next(row for row in events.read(run) if row["event"] == "server")
    assert (server["address"], server["model"], server["version"]) == ("127.0.0.1", "facebook/opt-125m", "0.32.0")
    assert server["command"].startswith("vllm serve /")
    assert f"--port={server['port']}" in server["command"]
    assert "0 problems" in project("verify", run.name)


def test_what_the_tutorial_sends_is_answered(line: tuple[Project, str, Path]) -> None:
    rows = calls(line[2])
    assert [(row["name"], row["status"]) for row in rows] == [
        ("completion", 200), ("chat", 400), ("chat", 200), ("openai-chat", 200), ("openai-chat-stream", 200),
    ]  # fmt: skip
    assert [row.get("output_tokens") for row in rows] == [50, None, 100, 50, 50]
    assert all(row["text"].strip() and row["prompt_tokens"] > 0 for row in rows if row["status"] == 200)
    assert 0 < rows[4]["ttft_s"] < rows[4]["seconds"]
    assert [row["ttft_s"] for row in rows[:4]] == [None] * 4


def test_a_model_without_a_template_meets_the_400_and_then_gets_ours(line: tuple[Project, str, Path]) -> None:
    _, _, run = line
    refused, sent_again = calls(run)[1:3]
    assert "you must provide a chat template" in refused["error"]
    assert [row["chat_template"] for row in calls(run)] == [None, None, *["labctl:plain.jinja"] * 3]
    response = (run / f"{refused['file']}.response.http").read_bytes()
    assert response.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert json.loads(response.partition(b"\r\n\r\n")[2])["error"]["message"] == refused["error"]
    body = json.loads((run / f"{sent_again['file']}.request.http").read_bytes().partition(b"\r\n\r\n")[2])
    assert body.pop("chat_template") == chat_template.ours()
    assert json.loads((run / f"{refused['file']}.request.http").read_bytes().partition(b"\r\n\r\n")[2]) == body
    assert body["messages"] == [{"role": "user", "content": "What is PagedAttention?"}]
    told = next(row for row in events.read(run) if row["event"] == "chat_template")
    assert (told["name"], told["given"], told["text"]) == ("labctl:plain.jinja", "request", chat_template.ours())


def test_every_call_is_kept_as_it_went_over_the_wire(line: tuple[Project, str, Path]) -> None:
    _, _, run = line
    port = next(row["port"] for row in events.read(run) if row["event"] == "server")
    for row in calls(run):
        request = (run / f"{row['file']}.request.http").read_bytes()
        response = (run / f"{row['file']}.response.http").read_bytes()
        assert request.startswith(b"POST /v1/")
        assert f"127.0.0.1:{port}".encode() in request
        assert response.startswith(f"HTTP/1.1 {row['status']} ".encode())
    assert b"OpenAI/Python" in (run / "api" / "04-openai-chat.request.http").read_bytes()
    streamed = (run / "api" / "05-openai-chat-stream.response.http").read_bytes()
    pieces = [piece for line in streamed.decode().splitlines() if (piece := wire.data(line))]
    text = "".join(one["delta"].get("content") or "" for piece in pieces for one in piece["choices"])
    assert text == calls(run)[4]["text"]


def test_metrics_version_and_figures_are_kept(line: tuple[Project, str, Path]) -> None:
    project, _, run = line
    assert json.loads((run / rundir.VERSION).read_text()) == {"version": "0.32.0"}
    samples = list(prom.samples((run / rundir.METRICS).read_text()))
    generated = sum(one.value for one in samples if one.name == "vllm:generation_tokens_total")
    assert generated == sum(row.get("output_tokens") or 0 for row in calls(run)) == 250
    told = project.record(run)
    figures = {name: figure["value"] for name, figure in told["metrics"].items()}
    assert figures["kv_tokens"] == figures["kv_blocks"] * figures["kv_block_size"]
    assert (figures["calls"], figures["refused_calls"], figures["status_call2"]) == (5, 1, 400)
    assert 0 < figures["ttft_call5"] < figures["latency_call5"]
    assert figures["startup"] > 5
    assert "throughput" not in figures
    kinds = {item["path"]: item["kind"] for item in told["artifacts"]}
    assert kinds["api/01-completion.request.http"] == kinds[rundir.CALLS] == "api"
    assert told["phases"][-1]["name"] == "shutdown"
    assert not processes.of_run(project.lab_dir / "runs" / run.name)


def test_a_server_that_dies_while_loading(project: Project) -> None:
    said = project("run", "server", "--host", "local", "--engine", "max_model_len=99999", code=1)
    told = project.record()
    assert (told["error"]["kind"], told["error"]["phase"]) == ("server", "engine, after server_import")
    assert "vllm serve ended with exit status 1 while loading" in told["error"]["message"]
    assert "max_model_len (99999) is greater than the derived max_model_len" in told["error"]["message"]
    assert "while loading" in said
    assert "0 problems" in project("verify", project.newest().name)


def test_a_server_that_never_gets_healthy(project: Project, tmp_path: Path) -> None:
    lab = tmp_path / "slow.toml"
    lab.write_text(
        'mode = "server"\nmodel = "facebook/opt-125m"\n[server]\nhealth_s = 2\n'
        '[workload]\nkind = "requests"\nrequests = [{text = "a"}]\n'
    )
    project("run", str(lab), "--host", "local", code=1)
    told = project.record()
    assert told["error"]["kind"] == "server"
    assert "was not healthy within 2 s (server.health_s)" in told["error"]["message"]
    assert told["ended_s"] < 60
    assert not processes.of_run(project.lab_dir / "runs" / told["run_id"])


def test_a_port_that_is_taken(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = project("run", "server", "--host", "local", "--port", str(port), code=1)
    told = project.record()
    assert told["error"]["kind"] == "server"
    assert f"port {port} at 127.0.0.1 cannot be had: Address already in use" in told["error"]["message"]
    assert f"(pid {os.getpid()}) listens there" in told["error"]["message"]
    assert str(port) in said


@pytest.mark.slow  # test_bench_serve.py has one that dies in the midst of a benchmark
def test_a_server_that_dies_while_answering(project: Project) -> None:
    asked = json.dumps([{"text": "San Francisco is a", "max_tokens": 500}])
    words = ("--workload", f"requests={asked}", "--detach")
    run_id = project("run", "server", "--host", "local", *EAGER, *words).splitlines()[0]
    run_dir = project.lab_dir / "runs" / run_id
    try:
        until(lambda: any(row.get("phase") == "call" for row in events.read(run_dir)), 240)
        (core,) = [pid for pid in processes.of_run(run_dir) if "EngineCore" in _name(pid)]
        os.kill(core, signal.SIGKILL)
        project("attach", run_id, code=1)
    finally:
        processes.end_run(run_dir)
    told = project.record(project.runs_dir / run_id)
    assert (told["error"]["kind"], told["error"]["phase"]) == ("server", "call")
    assert re.search(r"vllm serve .* while it was up: .*engine core exited unexpectedly", told["error"]["message"])
    (row,) = calls(project.runs_dir / run_id)
    assert row["status"] == 500
    assert "EngineCore encountered an issue" in row["error"]
    assert "0 problems" in project("verify", run_id)


def _name(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as handle:  # noqa: PTH123 - /proc
        return handle.read()


# From here on: the server that all tests share.


@pytest.fixture
def caller(server: Endpoint, tmp_path: Path) -> Iterator[Caller]:
    with events.Events(tmp_path, time.monotonic()) as told:
        yield Caller(server, tmp_path, told)


@pytest.mark.parametrize("by", ["http", "openai"])
def test_a_wrong_model_name_is_recorded_as_404(caller: Caller, tmp_path: Path, by: str) -> None:
    caller.call({"api": "chat", "by": by, "text": "Hello!", "model": "no/such"})
    (row,) = calls(tmp_path)
    assert row["status"] == 404
    assert "The model `no/such` does not exist." in row["error"]


WAYS = [
    {"api": api, "by": by, "stream": stream}
    for api in ("chat", "completion")
    for by in ("http", "openai")
    for stream in (False, True)
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
def test_both_clients_and_the_key_that_is_masked(
    server: Endpoint, caller: Caller, tmp_path: Path, way: dict[str, Any]
) -> None:
    caller.call({**way, "text": "Hello!", "max_tokens": 4})
    (row,) = calls(tmp_path)
    assert (row["status"], row["output_tokens"], row["finish_reason"]) == (200, 4, "length")
    assert row["text"].strip()
    assert (row["ttft_s"] is not None) is way["stream"]
    request = (tmp_path / f"{row['file']}.request.http").read_text()
    assert re.search(r"(?i)authorization: Bearer \[masked\]", request)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and server.key in path.read_text()]


@pytest.mark.parametrize("by", ["http", "openai"])
def test_sampling_of_the_spec_is_laid_over_each_request(server: Endpoint, tmp_path: Path, by: str) -> None:
    sampling = {"max_tokens": 3, "temperature": 0.0, "top_k": 1}
    with events.Events(tmp_path, time.monotonic()) as told:
        Caller(server, tmp_path, told, sampling).call({"text": "a", "max_tokens": 9, "by": by})
    (row,) = calls(tmp_path)
    assert (row["status"], row["output_tokens"]) == (200, 3)
    sent = json.loads((tmp_path / f"{row['file']}.request.http").read_text().partition("\n\n")[2])
    assert {key: sent[key] for key in sampling} == sampling


def test_without_the_key_nothing_is_answered(server: Endpoint) -> None:
    for key in ("", "wrong-key-of-someone-else"):
        answer = wire.post_json(server._replace(key=key), "/v1/completions", {"model": server.model, "prompt": "a"})
        assert answer.status == 401


def test_a_client_that_leaves_in_mid_stream_costs_the_server_nothing(server: Endpoint) -> None:
    body = {"model": server.model, "prompt": "a", "max_tokens": 480, "stream": True, "ignore_eos": True}
    before = _gauge(server, "vllm:generation_tokens_total")
    lines = wire.stream(server, "/v1/completions", body)
    assert any(wire.data(line) for _, line in lines)
    lines.close()  # type: ignore[attr-defined]
    until(lambda: not _gauge(server, "vllm:num_requests_running"), 20)
    assert healthy(server)
    assert _gauge(server, "vllm:generation_tokens_total") < before + 400, "what nobody reads any more is not made"
    answer = wire.post_json(server, "/v1/completions", {"model": server.model, "prompt": "a", "max_tokens": 2})
    assert answer.json()["usage"]["completion_tokens"] == 2


def _gauge(server: Endpoint, name: str) -> float:
    return next(one.value for one in prom.samples(wire.get(server, "/metrics").text) if one.name == name)
