"""Starting a run over a line that fails: exactly once, and never forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from labctl import follow
from labctl.errors import LaunchError, UnreachableError
from labctl.inventory import Host
from labctl.runner import spec

if TYPE_CHECKING:
    from labctl.launchers import Launcher
    from labctl.sessions import Session

HOST = Host(name="gpu1", connection="ssh", lab_dir="lab", address="gpu1")
ASKED = spec.from_dict({"lab": "offline", "model": "m", "workload": {"prompts": ["a"]}})


class Slow:
    """A host whose first start is heard of only after somebody has tried again; its own session and launcher."""

    def __init__(self, *errors: Exception | None, marks: list[bool]) -> None:
        self.errors, self.marks, self.reopened = list(errors), marks, 0

    def launch(self, _asked: spec.RunSpec, _run_id: str, _secrets: object = None) -> None:
        error = self.errors.pop(0)
        if error is not None:
            raise error

    def wait(self, _path: str, _seconds: float) -> bool:
        return self.marks.pop(0)

    def reopen(self) -> None:
        self.reopened += 1


def launch(host: Slow) -> None:
    session = cast("Session", host)
    where = follow.Line(HOST, session, cast("Launcher", host), "lab/runs/r1", Path("r1"))
    follow.launch(where, ASKED, follow.Persistence(session, 30.0, lambda: None))


def test_a_slow_start_is_not_taken_for_a_failed_one() -> None:
    host = Slow(UnreachableError("cut"), LaunchError("a run was started already"), marks=[False, True])
    launch(host)
    assert (host.errors, host.marks, host.reopened) == ([], [], 1)


def test_a_start_that_came_through_is_not_repeated() -> None:
    host = Slow(UnreachableError("cut"), marks=[True])
    launch(host)
    assert host.errors == []


def test_a_start_that_fails_is_told() -> None:
    with pytest.raises(LaunchError):
        launch(Slow(LaunchError("no"), marks=[]))
