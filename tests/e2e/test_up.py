"""A kept server with the real vLLM on this machine: asked, killed, started anew, and brought home."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labctl.commands.kept import SYNTHETIC
from labctl.runner import wire
from labctl.runner.open_routes import RUN_THE_MODEL
from labctl.runner.serving import Endpoint
from tests.e2e.conftest import until
from tests.e2e.tunnels import pasted, tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Project

EAGER = ("--engine", "enforce_eager=true", "--engine", "max_model_len=512")
KEY = "the-key-of-the-end-to-end-test"


@pytest.fixture(scope="module")
def kept(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, str]]:
    """A project with a server that is up, and what `up` said."""
    file = tmp_path_factory.mktemp("keys") / "key"
    file.write_text(KEY)
    file.chmod(0o600)
    said = project("up", "server", "--host", "local", "--name", "kept", *EAGER, "--api-key-file", str(file))
    yield project, said
    project.start("down", "kept").communicate(timeout=60)


def row_of(project: Project) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(project("ps", "--json", stderr=False))
    [row] = found
    return row


def test_up_says_what_it_did(kept: tuple[Project, str]) -> None:
    project, said = kept
    assert re.search(r"server kept is ready on local: facebook/opt-125m at 127\.0\.0\.1:\d+", said)
    # It is looked at every two seconds: which phases are seen is chance, that some are is not.
    assert len(set(re.findall(r": engine, after (\w+) \(", said))) > 2, said
    row = row_of(project)
    assert (row["state"], row["restarts"], row["api_key"], row["gpu_memory_bytes"]) == ("ready", 0, True, None)


def test_it_holds_the_cpu(kept: tuple[Project, str]) -> None:
    project, _ = kept
    said = project("run", "offline", *EAGER, code=1)
    assert f"error in lock: cpu is held by run {row_of(project)['run']}" in said


def test_ask_gets_what_the_openai_client_gets(kept: tuple[Project, str]) -> None:
    from openai import AuthenticationError, OpenAI

    project, _ = kept
    base = f"http://127.0.0.1:{row_of(project)['port']}/v1"
    with OpenAI(base_url=base, api_key=KEY) as client:
        whole = client.completions.create(
            model="facebook/opt-125m", prompt="San Francisco is a", max_tokens=24, temperature=0.0
        )
        chat = client.chat.completions.create(
            model="facebook/opt-125m",
            messages=[{"role": "user", "content": "What is PagedAttention?"}],
            max_tokens=24,
            temperature=0.0,
        )
    limits = ("--max-tokens", "24", "--temperature", "0")
    out, err = project.start("ask", "San Francisco is a", "--completion", *limits).communicate(timeout=60)
    assert out.rstrip("\n") == whole.choices[0].text.rstrip("\n")
    noise, took = err.splitlines()
    assert noise == SYNTHETIC
    assert re.match(r"24 tokens, the first after \d+\.\d+ s, then [\d.]+ a second", took)
    asked = project("ask", "What is PagedAttention?", "--no-stream", *limits, stderr=False)
    assert asked.rstrip("\n") == str(chat.choices[0].message.content).rstrip("\n")
    with OpenAI(base_url=base, api_key="wrong") as client, pytest.raises(AuthenticationError):
        client.models.list()
    said = project("ask", "Hi", "--model", "nope", code=12)
    assert "the server has no model nope (HTTP 404: The model `nope` does not exist." in said
    assert "facebook/opt-125m" in said


def test_the_tunnels_lines_work_as_pasted(kept: tuple[Project, str]) -> None:
    project, _ = kept
    process, said = tunnel(project)
    assert KEY not in said
    answer = subprocess.run(["bash", "-c", pasted(said, "curl")], capture_output=True, text=True, check=True).stdout
    assert json.loads(answer)["usage"]["completion_tokens"] == 50
    words = [sys.executable, "-c", pasted(said, "from openai")]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130


def test_the_routes_that_vllm_leaves_open_are_told(kept: tuple[Project, str]) -> None:
    project, _ = kept
    [told] = [row for row in project.host_events(row_of(project)["run"]) if row["event"] == "open_routes"]
    paths = {one["path"] for one in told["open"]}
    # As middleware/authenticate.py of 0.32.0 has it: what begins with /v1, /v2, /inference or /cohere is guarded.
    assert {"/health", "/metrics", "/version", "/openapi.json", "/tokenize"} <= paths
    assert not [path for path in paths if path.startswith("/v1")]
    assert told["tested"] > len(paths) + 5
    assert told["error"] is None
    # Not the route alone: the model itself runs for whoever comes.
    stranger = Endpoint("127.0.0.1", row_of(project)["port"], "facebook/opt-125m", "", 0)
    body = {"model": stranger.model, "prompt": "Hello", "max_tokens": 3}
    assert wire.post_json(stranger, "/v1/completions", body).status == 401
    assert "/invocations" in paths & RUN_THE_MODEL
    answer = wire.post_json(stranger, "/invocations", body)
    assert (answer.status, answer.json()["usage"]["completion_tokens"]) == (200, 3)


def engine_core(project: Project) -> int:
    """The process that holds the model, a child of the API server's."""
    server = next(row for row in reversed(project.host_events(row_of(project)["run"])) if row["event"] == "server")
    [pid] = [int(pid) for pid in _children(server["pid"]) if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return pid


def _children(pid: int) -> list[str]:
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.split()


def test_an_engine_that_is_killed_is_started_anew(kept: tuple[Project, str]) -> None:
    project, _ = kept
    port = row_of(project)["port"]
    os.kill(engine_core(project), signal.SIGKILL)
    until(lambda: row_of(project)["restarts"] == 1, within=60)
    until(lambda: row_of(project)["state"] == "ready", within=240)
    assert row_of(project)["port"] == port
    assert project("ask", "Hello", "--max-tokens", "4", stderr=False).strip()
    [told] = [row for row in project.host_events(row_of(project)["run"]) if row["event"] == "restart"]
    assert (told["number"], told["of"]) == (1, 3)
    assert told["reason"].startswith("vllm serve ")


def test_down_brings_the_run_home(kept: tuple[Project, str]) -> None:
    project, _ = kept
    run = row_of(project)["run"]
    said = project("down", "kept")
    assert f"run: {run} (stopped)" in said
    path: Path = project.runs_dir / run
    assert "0 problems" in project("verify", run)
    assert (path / "metrics" / "end.prom").read_text().count("vllm:") > 20
    assert (path / "report" / "report.html").is_file()
    assert project.record(path)["supervisor"]["why"] or project.record(path)["supervisor"]["unit"]
    for folder in (path, project.lab_dir / "runs" / run, project.lab_dir / "locks"):
        assert subprocess.run(["grep", "-rqF", KEY, folder], check=False).returncode == 1, folder
    assert not list((project.lab_dir / "secrets").iterdir())
    assert json.loads(project("ps", "--json", "--host", "local", stderr=False)) == []
