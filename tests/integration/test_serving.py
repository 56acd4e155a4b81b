"""Until a server is healthy: whose port it is, over real sockets and processes."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from labctl.runner import events, ports
from labctl.runner.failures import ServerError
from labctl.runner.last_words import LastWords
from labctl.runner.serving import Endpoint, _Up

if TYPE_CHECKING:
    from pathlib import Path


def test_another_program_at_the_port_is_asked_nothing_and_told(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, process_group=0) as process,
        events.Events(tmp_path, 0.0) as told,
    ):
        port = other.getsockname()[1]
        up = _Up(Endpoint("127.0.0.1", port, "m", "key", process.pid), process, LastWords(tmp_path), tmp_path, told)
        with pytest.raises(ServerError, match=rf"another program answers at port {port} of 127\.0\.0\.1"):
            up.until_healthy(20)
        process.communicate(b"\n")
        other.settimeout(0.2)
        with pytest.raises(TimeoutError):
            other.accept()
        with pytest.raises(ServerError, match="vllm serve ended with exit status 0 while loading"):
            up.until_healthy(20)


def test_a_server_that_never_listens(tmp_path: Path) -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, process_group=0) as process,
        events.Events(tmp_path, 0.0) as told,
    ):
        place = Endpoint("127.0.0.1", ports.free("127.0.0.1"), "m", "", process.pid)
        with pytest.raises(ServerError, match="was not healthy within 0 s"):
            _Up(place, process, LastWords(tmp_path), tmp_path, told).until_healthy(0)
        process.communicate(b"\n")
