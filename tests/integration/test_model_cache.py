"""Models fetched ahead of time by the real `hf download` of the lab's environment, from a hub on loopback."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import provisioned
from tests.integration import roles
from tests.integration.test_roles import source

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["source"]

SHA = "0123456789abcdef0123456789abcdef01234567"
# huggingface_hub writes (and so goes on from) whole pieces of ten MiB.
PIECE = 10 * 2**20
WEIGHTS = bytes(range(256)) * 4096 * 24
FILES = {"config.json": b'{"model_type": "opt"}', "model.safetensors": WEIGHTS, "pytorch_model.bin": b"the same, older"}
MODEL = "someone/real"
CUT = PIECE + 1_000_000


class Hub(BaseHTTPRequestHandler):
    """The hub's API for one model: information, tree, HEAD and GET of a file, the last with Range."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        path = self.path.split("?")[0]
        server.seen.append((self.command, path, self.headers.get("Range"), self.headers.get("Authorization")))
        if "/resolve/" in path:
            self.file(server, path.rsplit("/", 1)[1])
        elif f"{MODEL}/tree/" in path:
            tree = [{"type": "file", "path": name, "size": len(held), "oid": SHA} for name, held in FILES.items()]
            self.answer(200, json.dumps(tree).encode())
        elif path.startswith(f"/api/models/{MODEL}"):
            info = {"id": MODEL, "sha": SHA, "siblings": [{"rfilename": name} for name in FILES]}
            self.answer(200, json.dumps(info).encode())
        else:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815 - the server's own naming

    def file(self, server: Server, name: str) -> None:
        whole = FILES[name]
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        more = {"ETag": f'"{hashlib.sha256(whole).hexdigest()}"', "X-Repo-Commit": SHA, "Accept-Ranges": "bytes"}
        if self.headers.get("Range"):
            more["Content-Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        breaks = self.command == "GET" and name == "model.safetensors" and (server.broken or server.cuts > 0)
        server.cuts -= breaks
        cut = (0 if server.broken else CUT) if breaks else None
        self.answer(206 if self.headers.get("Range") else 200, whole[start:], more, cut)

    def answer(self, status: int, body: bytes, more: dict[str, str] | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            **(more or {}),
            "Content-Length": str(len(body)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        return


class Server(ThreadingHTTPServer):
    """``cuts``: how often the line breaks within the weights; ``broken``: always. ``seen``: what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hub)
        self.cuts = 0
        self.broken = False
        self.seen: list[tuple[str, str, str | None, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def hub() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def environment() -> Path:
    """That of the lab that the e2e tests use."""
    return provisioned().lab_dir / "env"


@pytest.fixture
def lab(source: Path, environment: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab of its own on that environment."""
    for name in ("HF_HOME", "HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    folder = source.parent / "lab"
    folder.mkdir()
    (folder / "env").symlink_to(environment)
    return folder


def _fetch(source: Path, *options: str, **variables: object) -> str:
    # It reads variables of python_env, whose tasks the tag keeps out.
    return roles.play(source, ["python_env", "model_cache"], {}, "--tags", "model_cache", *options, **variables)


def _kept(lab: Path) -> dict[str, bytes]:
    folder = lab / "models" / "hf" / "hub" / "models--someone--real" / "snapshots" / SHA
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def _begun(hub: Server) -> list[int]:
    """From which byte on the weights were asked for, each time."""
    asked = [row[2] for row in hub.seen if row[0] == "GET" and row[1].endswith("model.safetensors")]
    return [int((text or "bytes=0-").removeprefix("bytes=").split("-")[0]) for text in asked]


def test_a_broken_line_is_gone_on_with_where_it_broke_and_a_second_run_asks_nobody(
    source: Path, lab: Path, hub: Server
) -> None:
    wanted: dict[str, Any] = {"model_cache_models": [MODEL], "model_cache_endpoint": hub.url}
    hub.cuts = 2
    said = _fetch(source, **wanted)
    assert said.startswith("exit 0"), said
    assert roles.changed(said) == 1
    assert _begun(hub) == [0, PIECE, 2 * PIECE]
    # What vLLM loads, and not the same weights again in the older format.
    assert _kept(lab) == {name: FILES[name] for name in ("config.json", "model.safetensors")}
    hub.seen = []
    said = _fetch(source, **wanted)
    assert said.startswith("exit 0"), said
    assert roles.changed(said) == 0
    assert hub.seen == []


def test_a_download_that_never_ended_is_told_and_its_whole_files_stay(source: Path, lab: Path, hub: Server) -> None:
    wanted: dict[str, Any] = {"model_cache_models": [MODEL], "model_cache_endpoint": hub.url}
    hub.broken = True
    said = _fetch(source, **wanted)
    assert not said.startswith("exit 0")
    assert "The download of someone/real did not come to its end; provision again" in said
    assert set(_kept(lab)) == {"config.json"}
    hub.broken, hub.seen = False, []
    said = _fetch(source, **wanted)
    assert said.startswith("exit 0"), said
    assert not [path for verb, path, *_ in hub.seen if verb == "GET" and path.endswith("config.json")]
    assert _kept(lab) == {name: FILES[name] for name in ("config.json", "model.safetensors")}


def test_a_token_is_used_and_leaves_no_trace(source: Path, lab: Path, hub: Server) -> None:
    token = "hf_madeUpForThisTest"  # noqa: S105 - made up
    file = source.parent / "token"
    file.write_text(token + "\n", encoding="utf-8")
    file.chmod(0o600)
    wanted: dict[str, Any] = {
        "model_cache_models": [MODEL],
        "model_cache_endpoint": hub.url,
        "model_cache_token_file": str(file),
    }
    with _watched(token) as traces:
        said = _fetch(source, "-vvv", **wanted)
    assert said.startswith("exit 0"), said
    # It asks for a list of its own, too: not for the model, and without the token.
    assert {given for _, path, _, given in hub.seen if MODEL in path} == {f"Bearer {token}"}
    assert token not in said
    assert traces == []
    assert not (lab / "secrets" / "model_cache").exists()
    held = [path for path in source.parent.rglob("*") if path.is_file() and not path.is_symlink() and path != file]
    assert not [path for path in held if token.encode() in path.read_bytes()]


@contextlib.contextmanager
def _watched(word: str) -> Iterator[list[str]]:
    """Collect the command lines of this machine's processes that hold a word, meanwhile."""
    found: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    if word.encode() in path.read_bytes():
                        found.append(path.read_text(encoding="utf-8"))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


@pytest.mark.usefixtures("lab")
def test_a_token_that_others_can_read_is_refused(source: Path, hub: Server) -> None:
    file = source.parent / "token"
    file.write_text("x", encoding="utf-8")
    file.chmod(0o644)
    wanted = {"model_cache_models": [MODEL], "model_cache_endpoint": hub.url, "model_cache_token_file": str(file)}
    said = _fetch(source, **wanted)
    assert f"others can read too: chmod 600 {file}" in said
    assert hub.seen == []


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("model", "endpoint", "sentence"),
    [
        (MODEL, "http://127.0.0.1:9", "no model hub answers at http://127.0.0.1:9"),
        ("someone/missing", "", "answers that it has no model someone/missing"),
        ("bad name/x", "", "is no id of a model"),
    ],
)
def test_what_cannot_be_fetched_is_one_sentence(
    source: Path, hub: Server, model: str, endpoint: str, sentence: str
) -> None:
    said = _fetch(source, model_cache_models=[model], model_cache_endpoint=endpoint or hub.url)
    assert not said.startswith("exit 0")
    assert sentence in said
    assert "Traceback" not in said
