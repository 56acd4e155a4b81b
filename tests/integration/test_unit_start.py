"""The start of a unit of systemd that says nothing; programs of the test stand for systemd (tests/hosts has it)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.runner import unit

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PROGRAM = """#!/bin/sh
echo "$0 $*" >> {told}
"""


def test_a_unit_that_says_nothing_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, told = tmp_path / "lab" / "runs" / "r1", tmp_path / "told"
    path.mkdir(parents=True)
    for name in ("systemd-run", "systemctl"):
        (tmp_path / name).write_text(PROGRAM.format(told=told))
        (tmp_path / name).chmod(0o700)
    monkeypatch.setattr(unit, "_how", lambda: ([str(tmp_path / "systemd-run"), "--user"], {}))
    monkeypatch.setattr(unit, "_START_S", 1.0)
    said = unit.start(path, "labctl-server-x.service")
    assert said == "the unit's supervisor said nothing in 1 s and was stopped; see journalctl"
    started, stopped = told.read_text().splitlines()
    assert started.startswith(f"{tmp_path}/systemd-run --user --unit=labctl-server-x.service ")
    assert stopped == f"{tmp_path}/systemctl --user --no-ask-password stop labctl-server-x.service"
    assert not unit.environment_file(path).exists(), "it holds the login's secrets"
