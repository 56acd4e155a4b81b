"""What reset.yml takes off, and what it leaves, on a scratch lab of this machine (a ledger of files, no packages)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration import roles
from tests.integration.test_roles import source

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["source"]


@pytest.fixture
def lab(source: Path) -> Path:
    """A lab with runs, models, something of its owner's, and a ledger that names a file outside."""
    folder = source.parent / "lab"
    for name in ("env/bin", "uv", "cache", "wheels", "locks", "tmp", "runs/one", "models/hf", "placed", "mine"):
        (folder / name).mkdir(parents=True)
    (folder / "lab.json").write_text("{}", encoding="utf-8")
    (folder / "runs" / "one" / "record.json").write_text("{}", encoding="utf-8")
    for name in ("placed-file", "other-file"):
        (source.parent / name).write_text("x", encoding="utf-8")
    (folder / "placed" / "container_runtime.txt").write_text(f"file {source.parent}/placed-file\n", encoding="utf-8")
    return folder


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_a_check_says_what_would_go_and_removes_nothing(source: Path, lab: Path) -> None:
    before = _names(lab)
    said = roles.playbook(source, "reset", "--check")
    assert said.startswith("exit 0"), said
    assert f"labctl put on the system: file {source.parent}/placed-file" in said
    assert roles.changed(said) > 2
    assert _names(lab) == before
    assert (source.parent / "placed-file").exists()


def test_what_we_put_there_goes_and_nothing_else(source: Path, lab: Path) -> None:
    said = roles.playbook(source, "reset")
    assert said.startswith("exit 0"), said
    assert _names(lab) == {"runs", "models", "mine"}
    assert (lab / "runs" / "one" / "record.json").exists()
    assert not (source.parent / "placed-file").exists()
    assert (source.parent / "other-file").exists()
    again = roles.playbook(source, "reset")
    assert again.startswith("exit 0"), again
    assert roles.changed(again) == 0


def test_runs_and_models_go_where_that_is_asked_for_and_then_the_folder(source: Path, lab: Path) -> None:
    shutil.rmtree(lab / "mine")
    said = roles.playbook(source, "reset", reset_runs=True, reset_models=True)
    assert said.startswith("exit 0"), said
    assert not lab.exists()
    again = roles.playbook(source, "reset", reset_runs=True, reset_models=True)
    assert roles.changed(again) == 0


def test_a_lab_at_work_is_left_alone(source: Path, lab: Path) -> None:
    python = lab / "env" / "bin" / "python"
    python.symlink_to(sys.executable)
    busy = subprocess.Popen([python, "-I", "-c", "import time; time.sleep(60)"])
    try:
        said = roles.playbook(source, "reset")
    finally:
        busy.kill()
        busy.wait()
    assert not said.startswith("exit 0")
    assert f"(process {busy.pid})" in said
    assert (lab / "lab.json").exists()
    assert (source.parent / "placed-file").exists()


def test_a_switch_of_the_wrong_type_is_refused(source: Path, lab: Path) -> None:
    said = roles.playbook(source, "reset", reset_runs="perhaps")
    assert not said.startswith("exit 0")
    assert "reset_runs" in said
    assert (lab / "lab.json").exists()
