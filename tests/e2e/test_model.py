"""Which model is used, asked of the real huggingface_hub in the lab's environment, over a hub on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


SHA = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "opt"}',
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"the same, older",
}
# What hubs answer: (HTTP status, X-Error-Code)
ANSWERS = {
    "someone/gated": (403, "GatedRepo"),
    "someone/missing": (404, "RepoNotFound"),
    "someone/unauthorised": (401, ""),
    "someone/busy": (429, ""),
    "someone/broken": (503, ""),
}


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub's API does: one model with its files, and several kinds of no."""

    def do_GET(self) -> None:
        name = self.path.split("?")[0]
        if "/resolve/" in name:
            self.answer(200, FILES[name.rsplit("/", 1)[1]])
            return
        if "/tree/" in name:
            tree = [{"type": "file", "path": file, "size": len(held), "oid": SHA} for file, held in FILES.items()]
            self.answer(200, json.dumps(tree).encode())
            return
        model = "/".join(name.removeprefix("/api/models/").split("/")[:2])
        status, code = ANSWERS.get(model, (200, ""))
        info = {"id": model, "sha": SHA, "siblings": [{"rfilename": file} for file in FILES]}
        self.answer(status, json.dumps(info).encode(), code)

    do_HEAD = do_GET  # noqa: N815 - the server's own naming

    def answer(self, status: int, body: bytes, code: str = "") -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", SHA)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
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


def test_a_hub_that_has_it_is_used_and_asked_before_the_engine_starts(
    project: Project, hub: str, tmp_path: Path
) -> None:
    found = resolve(project, "someone/real", HF_ENDPOINT=hub, HF_HOME=str(tmp_path), HF_HUB_DISABLE_XET="1")
    assert "error" not in found, found
    assert (found["used"], found["synthetic"], found["weights"]) == ("someone/real", False, "hub")
    fetched = {path.name: path.read_bytes() for path in tmp_path.rglob("snapshots/*/*")}
    assert fetched == {name: FILES[name] for name in ("config.json", "model.safetensors")}
    # What is in the cache serves when the hub has gone.
    away = resolve(project, "someone/real", HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path))
    assert (away["used"], away["synthetic"]) == ("someone/real", False)


def test_a_hub_that_denies_it_is_believed(project: Project, hub: str) -> None:
    found = resolve(project, "someone/missing", HF_ENDPOINT=hub)
    assert found["error"] == f"the hub at {hub} answers that it has no model someone/missing"


@pytest.mark.parametrize(("name", "said"), [("someone/unauthorised", "HF_TOKEN"), ("someone/busy", "HTTP 429")])
def test_a_refusal_never_ends_in_random_weights(project: Project, hub: str, name: str, said: str) -> None:
    assert said in resolve(project, name, HF_ENDPOINT=hub, HF_TOKEN="hf_wrong")["error"]  # noqa: S106 - made up


def test_what_is_no_model_id_says_so(project: Project, hub: str) -> None:
    assert "neither a folder on the host nor a model id" in resolve(project, "bad name/x", HF_ENDPOINT=hub)["error"]


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
