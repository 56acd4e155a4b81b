"""Unit tests cannot touch the network, a process or the clock: whatever tries fails here, by name."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from typing import NoReturn

import pytest


@pytest.fixture(autouse=True)
def sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> object:
        def call(*_: object, **__: object) -> NoReturn:
            raise AssertionError(f"a unit test called {name}")

        return call

    for owner, names in (
        (socket.socket, ("connect", "bind")),
        (socket, ("create_connection", "getaddrinfo")),
        (subprocess, ("Popen",)),
        (os, ("fork", "posix_spawn", "system", "execv", "kill")),
        (time, ("sleep", "time", "monotonic")),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, refuse(f"{getattr(owner, '__name__', owner)}.{name}"))
