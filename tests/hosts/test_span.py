"""One engine over two hosts, with a stand-in for vLLM: how it starts, is refused, dies and ends, and what stays."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import until
from tests.hosts import light_lab
from tests.hosts.laptop import Laptop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hosts.machine import Machine

LAB = """
mode = "server"
model = "{model}"
[workload]
kind = "requests"
requests = [{{text = "Hello", max_tokens = 4}}, {{text = "{text}", max_tokens = 4}}]
[engine]
tensor_parallel_size = 2
"""
PEERS = 29502


@pytest.fixture(scope="module")
def pair(lab_host: Callable[..., Machine]) -> list[Machine]:
    return [lab_host(name) for name in ("gpu1", "gpu2")]


@pytest.fixture
def laptop(tmp_path: Path, pair: list[Machine]) -> Laptop:
    made = Laptop(tmp_path / "laptop")
    for one in pair:
        made.add(one, one.name, span_address=one.address)
        made.know(one)
    return made


def lab(laptop: Laptop, text: str = "there") -> str:
    """A lab file whose second request is this."""
    path = laptop.folder / "lab.toml"
    path.write_text(LAB.format(model=light_lab.MODEL, text=text))
    return str(path)


def left(pair: list[Machine], look: str = "find {0}/tmp -type s; ls /dev/shm") -> str:
    """Processes of runs that are on the hosts, and their sockets and shared memory."""
    running = "ps -eo args | grep -E 'labctl[.]runner|vllm[.]entrypoints'"
    return "".join(one.shell(f"{running}; {look.format(one.lab_dir)}", check=False) for one in pair)


def started(laptop: Laptop, pair: list[Machine], text: str) -> tuple[str, str]:
    """A detached span whose server is up and has a long answer before it; the run ids of both hosts."""
    head = laptop("run", lab(laptop, text), "--span", "gpu1,gpu2", "--detach", stderr=False).strip()
    worker = str(json.loads((laptop.runs_dir / head / "spec.json").read_text())["span"]["runs"][1])
    until(lambda: log(pair[0], head).count('"phase": "call"') > 2, within=30)
    time.sleep(2)  # the hosts tell each other what their logs said last once a second
    return head, worker


def log(host: Machine, run_id: str) -> str:
    return host.shell(f"cat {host.lab_dir}/runs/{run_id}/events.jsonl", check=False)


def sealed(host: Machine, run_id: str, within: float = 30.0) -> dict[str, Any]:
    run_dir = f"{host.lab_dir}/runs/{run_id}"
    until(lambda: "SHA256SUMS" in host.shell(f"ls {run_dir}"), within=within)
    found: dict[str, Any] = json.loads(host.read(f"{run_dir}/record.json"))
    return found


def kill(host: Machine, pattern: str) -> None:
    host.shell(f"pkill -9 -f {pattern}")


def test_one_server_over_two_hosts(laptop: Laptop, pair: list[Machine]) -> None:
    said = laptop("run", lab(laptop), "--span", "gpu1,gpu2")
    head, worker = sorted((path for path in laptop.runs_dir.iterdir()), key=lambda path: "gpu2" in path.name)
    assert f"part of it on gpu2: {worker.name} (ok)" in said
    assert f"run: {head.name} (ok)" in said
    told, other = laptop.record(head), laptop.record(worker)
    assert [node["host"] for node in told["nodes"]] == ["gpu1", "gpu2"]
    assert told["nodes"][1]["machine"] == other["nodes"][0]["machine"]
    assert (told["nodes"][1]["run"], told["nodes"][1]["status"]) == (worker.name, "ok")
    assert {phase["name"] for phase in other["phases"]} >= {"model", "serving", "shutdown"}
    command = next(row["command"] for row in events(head) if row["event"] == "server")
    assert f"--nnodes=2 --node-rank=0 --master-addr={pair[0].address} --master-port=29501" in command
    for run in (head, worker):
        assert "0 problems" in laptop("verify", run.name)
    assert left(pair) == ""
    told["nodes"][1]["machine"]["hostname"] = "another"
    (head / "record.json").write_text(json.dumps(told))
    assert "the record tells another host than machine/node-1.json" in laptop("verify", head.name, code=1)


def events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("victim", "within", "said"),
    [
        # vLLM's own part dies: its supervisor says so, with the log's last lines.
        ("vllm.entrypoints", 10.0, "gpu2: its part of vLLM was killed by signal 9"),
        # Nobody is left to say anything: the line breaks, and the last words are those of the last beat.
        ("labctl.runner", 25.0, "gpu2: went silent: its line broke"),
    ],
)
def test_a_node_that_dies_ends_the_span_and_is_named(
    laptop: Laptop, pair: list[Machine], victim: str, within: float, said: str
) -> None:
    head, _ = started(laptop, pair, "slow 300")
    kill(pair[1], victim)
    began = time.monotonic()
    told = sealed(pair[0], head, within)
    assert time.monotonic() - began < within
    assert (told["status"], told["error"]["kind"], told["error"]["node"]) == ("failed", "peer", "gpu2")
    assert said in told["error"]["message"]
    assert "headless multiproc executor (STAND-IN)" in told["error"]["log_tail"][-1]
    assert f"error in call: {said}" in laptop("attach", head, code=1)
    assert "0 problems" in laptop("verify", head)
    until(lambda: left(pair) == "", within=15)


def test_a_head_that_dies_ends_the_others(laptop: Laptop, pair: list[Machine]) -> None:
    head, worker = started(laptop, pair, "slow 300")
    kill(pair[0], "labctl.runner")
    told = sealed(pair[1], worker, 25)
    assert (told["status"], told["error"]["node"]) == ("failed", "gpu1")
    assert "POST /v1/completions" in "".join(told["error"]["log_tail"])
    until(lambda: left(pair, "") == "", within=15)
    # Whoever asks next seals it; the sockets of a run whose supervisor was killed go with the next run.
    laptop("attach", head, code=1)
    assert laptop.record(laptop.runs_dir / head)["status"] == "lost"
    laptop("run", lab(laptop), "--span", "gpu1,gpu2")
    assert left(pair) == ""


@pytest.mark.slow  # silence takes 20 s to be one
def test_a_host_that_vanishes_is_named_after_a_while(laptop: Laptop, pair: list[Machine]) -> None:
    head, _ = started(laptop, pair, "slow 300")
    pair[1].pause()
    try:
        told = sealed(pair[0], head, 60)
    finally:
        pair[1].unpause()
    assert (told["status"], told["error"]["node"]) == ("failed", "gpu2")
    assert "gpu2: went silent: not a word for 2" in told["error"]["message"]
    until(lambda: left(pair) == "", within=30)


def test_a_stop_of_the_head_ends_all(laptop: Laptop, pair: list[Machine]) -> None:
    head, worker = started(laptop, pair, "slow 300")
    assert f"run: {head} (stopped)" in laptop("stop", head)
    told = sealed(pair[1], worker)
    assert (told["status"], told["error"]["message"]) == ("stopped", "stopped on gpu1")
    assert left(pair) == ""


def test_strangers_cannot_end_a_span(laptop: Laptop, pair: list[Machine]) -> None:
    head, _ = started(laptop, pair, "slow 12")
    listening = pair[0].shell(f"cat /proc/net/tcp | grep -i ':{PEERS:04X} 00000000:0000 0A'")
    assert listening.count("\n") == 1
    assert "00000000:" not in listening.split()[1], "the supervisors' port is bound to the private address alone"
    end = json.dumps({"kind": "end", "status": "stopped", "rank": 1}).encode()
    words = [
        b"labctl-peer 1 " + b"0" * 32 + b"\n" + b"0" * 64 + b" " + end + b"\n",
        b"\xff" * 100_000,
        b"GET / HTTP/1.1\r\n\r\n",
    ]
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(socket.create_connection((pair[0].address, PEERS))) for _ in range(20)]
        for number, line in enumerate(lines):
            with contextlib.suppress(ConnectionError):  # it may hang up before it has heard all
                line.sendall(words[number % len(words)])
    assert "(ok)" in laptop("attach", head)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--span-address", "gpu2=8.8.8.8"], "8.8.8.8 of gpu2 is a public address"),
        (["--span-address", "gpu2=10.99.0.1"], None),
        (["--engine", "tensor_parallel_size=3"], "workers in all"),
        (["--engine", "tensor_parallel_size=1", "--engine", "pipeline_parallel_size=2"], "AssertionError at the first"),
        (["--host", "gpu1"], "leave out --host"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    laptop: Laptop, pair: list[Machine], words: list[str], said: str | None
) -> None:
    before = [one.shell(f"ls {one.lab_dir}/runs") for one in pair]
    if said is None:
        told = laptop("run", lab(laptop), "--span", "gpu1,gpu2", *words, code=1)
        assert "error in start: gpu2 has no interface with the address 10.99.0.1" in told
        return
    assert said in laptop("run", lab(laptop), "--span", "gpu1,gpu2", *words, code=2)
    assert [one.shell(f"ls {one.lab_dir}/runs") for one in pair] == before


@pytest.mark.parametrize(
    ("table", "said", "code"),
    [
        ("[needs]\ngpus = 4\n", "needs 2 GPUs, and gpu1 has no GPUs", 2),  # two of them on each host
        ("[env]\nNCCL_SOCKET_IFNAME = 'public0'\n", "NCCL_SOCKET_IFNAME is 'public0' on gpu", 1),
    ],
)
def test_what_a_lab_may_not_is_refused(laptop: Laptop, pair: list[Machine], table: str, said: str, code: int) -> None:
    path = lab(laptop)
    (laptop.folder / "lab.toml").write_text((laptop.folder / "lab.toml").read_text() + table)
    assert said in laptop("run", path, "--span", "gpu1,gpu2", code=code)
    assert left(pair) == ""
