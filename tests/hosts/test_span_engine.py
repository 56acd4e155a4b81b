"""The real vLLM over two hosts: tensor parallel 2 between containers, and one that dies in the midst of serving."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import until
from tests.hosts import real_lab
from tests.hosts.laptop import Laptop
from tests.hosts.test_span import events, left, log, sealed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.hosts.fleet import Fleet
    from tests.hosts.machine import Machine

RUN = ("run", "server", "--span", "gpu1,gpu2", "--engine", "tensor_parallel_size=2")
EAGER = ("--engine", "enforce_eager=true", "--engine", "max_model_len=512")
FEW = (
    {"text": "San Francisco is a", "max_tokens": 8},
    {"api": "chat", "by": "openai", "text": "Hello!", "max_tokens": 8, "stream": True},
)
LONG = ({"text": "Hi", "max_tokens": 4}, {"text": "Tell me a story", "max_tokens": 480})


@pytest.fixture(scope="module")
def pair(fleet: Fleet) -> Iterator[list[Machine]]:
    made = [fleet.machine(name, binds=real_lab.binds(name)) for name in ("gpu1", "gpu2")]
    for core, one in enumerate(made):
        # vLLM binds its threads to cores as if the machine were its own: on the same ones they would wait in turns.
        one.container.update(cpuset_cpus=str(core))
        real_lab.install(one)
    yield made
    for one in made:
        one.remove()


@pytest.fixture
def laptop(tmp_path: Path, pair: list[Machine], monkeypatch: pytest.MonkeyPatch) -> Laptop:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = Laptop(tmp_path / "laptop")
    for one in pair:
        made.add(one, one.name, span_address=one.address)
        made.know(one)
    return made


def asking(*requests: dict[str, object]) -> tuple[str, str]:
    return "--workload", f"requests={json.dumps(requests)}"


def test_tensor_parallel_over_two_hosts(laptop: Laptop, pair: list[Machine]) -> None:
    said = laptop(*RUN, *EAGER, *asking(*FEW))
    head, worker = sorted(laptop.runs_dir.iterdir(), key=lambda path: "gpu2" in path.name)
    assert f"run: {head.name} (ok)" in said
    assert f"part of it on gpu2: {worker.name} (ok)" in said
    calls = [json.loads(row) for row in (head / "api" / "calls.jsonl").read_text().splitlines()]
    assert [one["output_tokens"] for one in calls if one["status"] == 200] == [8, 8]
    assert "world_size=2, local_world_size=1" in (head / "logs" / "engine.log").read_text()
    assert "headless multiproc executor" in (worker / "logs" / "engine.log").read_text()
    models = [next(row["model"] for row in events(run) if row["event"] == "span") for run in (head, worker)]
    assert models[0] == models[1] != ""
    for run in (head, worker):
        assert "0 problems" in laptop("verify", run.name)
    assert left(pair) == ""


@pytest.mark.slow
def test_a_worker_killed_in_the_midst_of_an_answer(laptop: Laptop, pair: list[Machine]) -> None:
    head = laptop(*RUN, *EAGER, *asking(*LONG), "--detach", stderr=False).strip()
    until(lambda: log(pair[0], head).count('"phase": "call"') > 2, within=200)
    pair[1].shell("pkill -9 -f VLLM::Worker")
    told = sealed(pair[0], head, 60)
    assert (told["status"], told["error"]["kind"], told["error"]["node"]) == ("failed", "peer", "gpu2"), told["error"]
    assert "VllmWorker-1 died unexpectedly" in "".join(told["error"]["log_tail"]), told["error"]
    assert "error in call: gpu2: " in laptop("attach", head, code=1)
    worker = str(json.loads((laptop.runs_dir / head / "spec.json").read_text())["span"]["runs"][1])
    assert sealed(pair[1], worker)["status"] == "failed"
    until(lambda: left(pair) == "", within=20)
