"""Which model is used, asked of the real huggingface_hub in the lab's environment, over a hub on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Project

CODE = """
import dataclasses, json, pathlib, sys
from labctl.runner import model
try:
    found = dataclasses.asdict(model.resolve(sys.argv[1], pathlib.Path(sys.argv[2]), allow_synthetic=True))
except model.ModelError as error:
    found = {"error": str(error)}
print(json.dumps(found))
"""


class Hub(BaseHTTPRequestHandler):
    """Answers like the hub's API for one model that exists, one that is gated, and one that never was."""

    def do_GET(self) -> None:
        name = self.path.removeprefix("/api/models/")
        error = {"someone/gated": "GatedRepo", "someone/missing": "RepoNotFound"}.get(name)
        body = json.dumps({"id": name, "siblings": []}).encode()
        self.send_response({None: 200, "GatedRepo": 403, "RepoNotFound": 404}[error])
        if error:
            self.send_header("X-Error-Code", error)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def resolve(project: Project, name: str, **env: str) -> dict[str, Any]:
    python = json.loads((project.lab_dir / "lab.json").read_text())["python"]
    done = subprocess.run(
        [python, "-I", "-c", CODE, name, str(project.lab_dir / "models")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "HF_HOME": str(project.folder / "hf"), **env},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_hub_that_has_it_is_used(project: Project, hub: str) -> None:
    found = resolve(project, "facebook/opt-125m", HF_ENDPOINT=hub)
    assert (found["used"], found["synthetic"], found["weights"]) == ("facebook/opt-125m", False, "hub")


def test_a_hub_that_denies_it_is_believed(project: Project, hub: str) -> None:
    found = resolve(project, "someone/missing", HF_ENDPOINT=hub)
    assert found["error"] == f"the hub at {hub} answers that it has no model someone/missing"


def test_a_gated_model_names_the_cure(project: Project, hub: str) -> None:
    assert "set HF_TOKEN" in resolve(project, "someone/gated", HF_ENDPOINT=hub)["error"]


def test_no_hub_at_all_gives_a_synthetic_one(project: Project) -> None:
    found = resolve(project, "facebook/opt-125m", HF_ENDPOINT="http://127.0.0.1:9")
    assert (found["synthetic"], found["weights"]) == (True, "random")
    assert "http://127.0.0.1:9" in found["why"]


def test_modelscope_without_its_package_says_so(project: Project) -> None:
    found = resolve(project, "facebook/opt-125m", VLLM_USE_MODELSCOPE="true")
    assert "the package modelscope is not in the host's environment" in found["why"]


def test_a_large_model_is_not_written_to_disk(project: Project) -> None:
    found = resolve(project, "Qwen/Qwen2.5-7B-Instruct", HF_HUB_OFFLINE="1")
    assert (found["synthetic"], found["weights"]) == (True, "dummy")
