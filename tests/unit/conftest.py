"""Unit tests cannot touch the network, a process or the clock: whatever tries fails here, by name.

Those of hypothesis have the clock, which it reads itself.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING, NoReturn

import pytest

from labctl import runs
from tests.unit.sealed_run import ASKED, seal_run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def sealed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> object:
        def call(*_: object, **__: object) -> NoReturn:
            raise AssertionError(f"a unit test called {name}")

        return call

    for owner, names in (
        (socket.socket, ("connect", "bind")),
        (socket, ("create_connection", "getaddrinfo")),
        (subprocess, ("Popen",)),
        (os, ("fork", "posix_spawn", "system", "execv", "kill")),
        (time, () if getattr(request.function, "is_hypothesis_test", False) else ("sleep", "time", "monotonic")),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, refuse(f"{getattr(owner, '__name__', owner)}.{name}"))


@pytest.fixture
def host_dir(tmp_path: Path) -> Path:
    """A sealed run as it lies on its host."""
    return seal_run(tmp_path / "host" / "r1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The directory here of the same run, before anything was fetched."""
    return runs.create(tmp_path / "runs", "r1", "local", str(tmp_path / "host" / "r1"), ASKED)
