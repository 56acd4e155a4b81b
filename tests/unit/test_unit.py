"""Which runs are left to systemd, under which name, and the starter's environment on its way."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from labctl.runner import api_key, unit

if TYPE_CHECKING:
    from pathlib import Path


def run_dir(folder: Path, asked: object) -> Path:
    path = folder / "lab" / "runs" / "r1"
    path.mkdir(parents=True)
    (path / "spec.json").write_text(asked if isinstance(asked, str) else json.dumps(asked))
    return path


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"lab": "server", "workload": {"kind": "hold"}, "server": {"name": "mine"}}, "labctl-server-mine.service"),
        ({"lab": "my lab", "workload": {"kind": "hold"}, "server": {"name": ""}}, "labctl-server-my-lab.service"),
        ({"lab": "a/../b", "workload": {"kind": "hold"}, "server": None}, "labctl-server-a----b.service"),
        ({"lab": "server", "workload": {"kind": "requests"}}, None),
        ({"lab": "server", "workload": []}, None),
        ({"workload": {"kind": "hold"}, "server": 7}, None),
        ("{", None),
        ([], None),
    ],
)
def test_the_unit_of_a_run(tmp_path: Path, asked: object, name: str | None) -> None:
    assert unit.wanted(run_dir(tmp_path, asked)) == name


def test_the_environment_goes_by_a_file_that_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_dir(tmp_path, {})
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ["LABCTL_TEST_ONLY"] = "ä\nsecond line"
    unit._save(unit.environment_file(path))
    assert unit.environment_file(path).stat().st_mode & 0o777 == 0o600
    os.environ["LABCTL_TEST_LATER"] = "x"
    del os.environ["LABCTL_TEST_ONLY"]
    unit.take_environment(path)
    assert os.environ["LABCTL_TEST_ONLY"] == "ä\nsecond line"
    assert "LABCTL_TEST_LATER" not in os.environ
    assert not unit.environment_file(path).exists()


def test_a_key_is_kept_for_as_long_as_its_server_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run_dir(tmp_path, {})
    monkeypatch.delenv(api_key.VARIABLE, raising=False)
    api_key.keep(path)
    assert not api_key.path(path).exists()
    monkeypatch.setenv(api_key.VARIABLE, "secret")
    api_key.keep(path)
    assert api_key.path(path).read_text() == "secret\n"
    assert api_key.path(path).stat().st_mode & 0o777 == 0o600
    api_key.forget(path)
    api_key.forget(path)
    assert not api_key.path(path).exists()
