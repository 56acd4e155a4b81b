"""What goes wrong with a real engine, and what must remain of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest

from labctl.runner import processes
from tests.e2e.conftest import Project, until

if TYPE_CHECKING:
    from collections.abc import Iterator

EAGER = ("--engine", "enforce_eager=true", "--engine", "max_model_len=512", "--sampling", "max_tokens=4")


def in_phase(project: Project, run_id: str, phase: str) -> bool:
    events = project.host_events(run_id)
    return any(event["event"] == "begin" and event.get("phase") == phase for event in events)


def left_of(project: Project, run_id: str) -> list[int]:
    return processes.of_run(project.lab_dir / "runs" / run_id)


@pytest.fixture
def detached(project: Project) -> Iterator[str]:
    """A real run, left to itself, its worker importing vLLM."""
    run_id = project("run", "offline", "--host", "local", *EAGER, "--detach").splitlines()[0]
    until(lambda: in_phase(project, run_id, "import"))
    yield run_id
    processes.end_run(project.lab_dir / "runs" / run_id)


def test_two_runs_and_a_killed_supervisor(project: Project, detached: str) -> None:
    said = project("run", "offline", "--host", "local", *EAGER, code=1)
    assert f"cpu is held by run {detached}" in said
    until(lambda: in_phase(project, detached, "engine"))
    os.kill(project.host_record(detached)["supervisor"]["pid"], signal.SIGKILL)
    assert "sealed and verified: lost" in project("fetch", detached)
    told = project.record(project.runs_dir / detached)
    assert (told["status"], told["error"]["kind"]) == ("lost", "lost")
    assert told["nodes"][0]["machine"]["hostname"]
    assert told["error"]["log_tail"]
    assert left_of(project, detached) == []
    assert "0 problems" in project("verify", detached)
    assert (project.runs_dir / detached / "logs" / "engine.log").stat().st_size > 0


def test_two_runs_of_one_moment_have_a_directory_each(project: Project) -> None:
    both = [project.start("run", "offline", "--model", f"/no/such/{name}") for name in ("a", "b")]
    ends = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [1, 1]
    ids = [out.split("run: ")[1].split()[0] for out, _ in ends]
    assert len(set(ids)) == 2
    for run_id, (out, _) in zip(ids, ends, strict=True):
        told = project.record(project.runs_dir / run_id)
        assert told["error"]["kind"] in {"model", "busy"}
        assert told["error"]["message"] in out


def test_a_killed_worker_is_named_with_its_signal(project: Project, detached: str) -> None:
    until(lambda: in_phase(project, detached, "engine"))
    os.kill(project.host_events(detached)[0]["pid"], signal.SIGKILL)
    said = project("attach", detached, code=1)
    assert "killed by signal 9 (SIGKILL)" in said
    told = project.record(project.runs_dir / detached)
    assert (told["status"], told["error"]["exit"]) == ("failed", -9)
    assert told["error"]["phase"].startswith("engine")
    assert left_of(project, detached) == []
    assert (project.runs_dir / detached / "report" / "report.html").is_file()


def test_ctrl_c_detaches_and_stop_seals(project: Project) -> None:
    before = set(project.runs_dir.iterdir())
    process = project.start("run", "offline", "--host", "local", *EAGER)
    until(lambda: [path for path in set(project.runs_dir.iterdir()) - before if (path / "record.json").is_file()])
    run_id = project.newest().name
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"labctl attach {run_id}" in err
    until(lambda: in_phase(project, run_id, "engine"))
    assert left_of(project, run_id), "the run must go on"
    said = project("stop", run_id)
    assert f"run: {run_id} (stopped)" in said
    assert project.record(project.runs_dir / run_id)["status"] == "stopped"
    assert left_of(project, run_id) == []


def test_attach_follows_to_the_end(project: Project, detached: str) -> None:
    said = project("attach", detached)
    assert f"run: {detached} (ok)" in said
    assert "throughput:" in said


@pytest.mark.parametrize(
    ("options", "env", "kind", "words"),
    [
        (("--model", "/no/such/model"), {}, "model", "the model path /no/such/model does not exist"),
        (("--no-synthetic",), {"HF_HUB_OFFLINE": "1"}, "model", "--no-synthetic refuses"),
        (("--model", "someone/unknown"), {"HF_HUB_OFFLINE": "1"}, "model", "knows no architecture for someone/unknown"),
    ],
)
def test_a_model_that_cannot_be_had(
    project: Project, options: tuple[str, ...], env: dict[str, str], kind: str, words: str
) -> None:
    said = project("run", "offline", "--host", "local", *options, code=1, env=env)
    assert words in said
    told = project.record()
    assert (told["error"]["kind"], told["error"]["phase"]) == (kind, "model")


def test_the_hosts_own_vllm_has_the_last_word(project: Project) -> None:
    """A spec that a laptop with another table let through."""
    spec = json.loads(project("run", "offline", "--dry-run"))
    spec["engine"]["swap_space"] = 4
    spec["sampling"]["best_off"] = 2
    run_dir = project.lab_dir / "runs" / f"by-hand-{uuid.uuid4().hex}"
    run_dir.mkdir()
    (run_dir / "spec.json").write_text(json.dumps(spec))
    python = json.loads((project.lab_dir / "lab.json").read_text())["python"]
    subprocess.run([python, "-I", "-m", "labctl.runner", str(run_dir)], check=True, timeout=30)
    until((run_dir / "SHA256SUMS").is_file)
    error = json.loads((run_dir / "record.json").read_text())["error"]
    assert error["kind"] == "argument"
    assert "unknown engine argument swap_space" in error["message"]
    assert "unknown sampling argument best_off" in error["message"]


def test_a_cache_larger_than_memory_is_out_of_memory(project: Project) -> None:
    said = project(
        "run", "offline", "--host", "local", *EAGER, "--engine", "kv_cache_memory_bytes=99999999999999", code=1
    )
    told = project.record()
    assert told["error"]["kind"] == "out_of_memory", said
    assert told["error"]["phase"].startswith("engine")
