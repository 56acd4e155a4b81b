"""A server that another run keeps up, found and asked over real sockets."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from labctl.runner import api_key, events, processes, record, rundir, spec, wire
from labctl.runner.attached import attached, find
from labctl.runner.failures import ServerError
from labctl.runner.placement import Server
from labctl.runner.workloads import Hold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = spec.RunSpec(lab="server", model="m", workload=Hold(), mode="server", server=Server(name="mine"))


class Handler(BaseHTTPRequestHandler):
    keys: list[str | None]

    def do_GET(self) -> None:
        self.keys.append(self.headers["Authorization"])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"vllm:num_requests_running 0.0\n" if self.path == "/metrics" else b"")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def answering() -> Iterator[ThreadingHTTPServer]:
    Handler.keys = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def keep(lab: Path, run_id: str, port: int | None, *, name: str = "mine", status: str = "running") -> Path:
    """A kept server's run directory as its host has it; its supervisor is this process."""
    run_dir = lab / "runs" / run_id
    run_dir.mkdir(parents=True)
    asked = dataclasses.replace(HOLD, server=Server(name=name))
    (run_dir / rundir.SPEC).write_text(asked.to_json())
    who = {
        "pid": os.getpid(), "start_ticks": processes.start_ticks(os.getpid()), "boot_id": processes.boot_id(),
    }  # fmt: skip
    record.RunRecord(
        run_id=run_id, status=status, spec_sha256="", anchor={"utc": "", "monotonic": 0.0}, supervisor=who
    ).write(run_dir)
    with events.Events(run_dir, 0.0) as told:
        told.emit("model", used="/models/x")
        told.emit("engine", used={"model": "/models/x"})
        if port is not None:
            told.emit("server", address="127.0.0.1", port=port, model="m", pid=os.getpid())
    return run_dir


def own(lab: Path) -> Path:
    run_dir = lab / "runs" / "r9"
    run_dir.mkdir(parents=True)
    return run_dir


def test_it_is_asked_with_its_key_and_told_in_this_run(tmp_path: Path) -> None:
    with answering() as server:
        other = keep(tmp_path, "r1", server.server_port)
        api_key.path(other).parent.mkdir()
        api_key.path(other).write_text("k-1234\n")
        run_dir = own(tmp_path)
        with events.Events(run_dir, 0.0) as told, attached("mine", run_dir, told) as endpoint:
            assert (endpoint.port, endpoint.model, endpoint.key) == (server.server_port, "m", "k-1234")
            assert set(Handler.keys) == {None}, "/health is for everyone"
            Handler.keys.clear()
            wire.get(endpoint, "/v1/models")
            assert Handler.keys == ["Bearer k-1234"]
    rows = [json.loads(line) for line in (run_dir / rundir.EVENTS).read_text().splitlines()]
    assert [row["event"] for row in rows] == ["model", "engine", "server"]
    assert rows[2]["run"] == "r1"
    assert (run_dir / rundir.METRICS).read_text() == "vllm:num_requests_running 0.0\n"
    assert "k-1234" not in (run_dir / rundir.EVENTS).read_text()


def test_by_its_run_id_as_well(tmp_path: Path) -> None:
    other = keep(tmp_path, "r1", 1)
    assert find("r1", own(tmp_path)) == other


def test_another_name_says_which_ones_run(tmp_path: Path) -> None:
    keep(tmp_path, "r1", 1)
    keep(tmp_path, "r2", 1, name="")
    keep(tmp_path, "r3", 1, name="ended", status="stopped")
    with pytest.raises(ServerError, match=r"no server 'yours' runs on this host \(running: mine, server\)"):
        find("yours", own(tmp_path))


def test_one_that_is_loading_is_not_up_yet(tmp_path: Path) -> None:
    keep(tmp_path, "r1", None)
    run_dir = own(tmp_path)
    with (
        events.Events(run_dir, 0.0) as told,
        pytest.raises(ServerError, match="not up yet"),
        attached("mine", run_dir, told),
    ):
        pass


def test_one_that_dies_meanwhile_is_the_error(tmp_path: Path) -> None:
    run_dir = own(tmp_path)

    def use(server: ThreadingHTTPServer) -> None:
        with events.Events(run_dir, 0.0) as told, attached("mine", run_dir, told):
            server.shutdown()
            server.server_close()
            raise RuntimeError

    with answering() as server:
        keep(tmp_path, "r1", server.server_port)
        with pytest.raises(ServerError, match=r"the server mine \(run r1\) stopped answering"):
            use(server)
