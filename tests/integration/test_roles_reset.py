"""What reset.yml takes off, and what it leaves, on a scratch lab of this machine (a ledger of files, no packages)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from labctl import assets
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


def _reset(source: Path, *options: str, **variables: object) -> str:
    """Reset this machine, where a ledger may name files of the test's folder: root's own are not for tests."""
    return roles.playbook(source, "reset", *options, reset_paths=[f"{source.parent}/[a-z-]+"], **variables)


def test_a_check_says_what_would_go_and_removes_nothing(source: Path, lab: Path) -> None:
    before = _names(lab)
    said = _reset(source, "--check")
    assert said.startswith("exit 0"), said
    assert f"labctl put on the system: file {source.parent}/placed-file" in said
    assert roles.changed(said) > 2
    assert _names(lab) == before
    assert (source.parent / "placed-file").exists()


def test_what_we_put_there_goes_and_nothing_else(source: Path, lab: Path) -> None:
    said = _reset(source)
    assert said.startswith("exit 0"), said
    assert _names(lab) == {"runs", "models", "mine", ".labctl-lab"}
    assert (lab / "runs" / "one" / "record.json").exists()
    assert not (source.parent / "placed-file").exists()
    assert (source.parent / "other-file").exists()
    again = _reset(source)
    assert again.startswith("exit 0"), again
    assert roles.changed(again) == 0


def test_runs_and_models_go_where_that_is_asked_for_and_then_the_folder(source: Path, lab: Path) -> None:
    shutil.rmtree(lab / "mine")
    said = _reset(source, reset_runs=True, reset_models=True)
    assert said.startswith("exit 0"), said
    assert not lab.exists()
    again = _reset(source, reset_runs=True, reset_models=True)
    assert roles.changed(again) == 0


def test_a_lab_at_work_is_left_alone(source: Path, lab: Path) -> None:
    python = lab / "env" / "bin" / "python"
    python.symlink_to(sys.executable)
    busy = subprocess.Popen([python, "-I", "-c", "import time; time.sleep(60)"])
    try:
        said = _reset(source)
    finally:
        busy.kill()
        busy.wait()
    assert not said.startswith("exit 0")
    assert f"(process {busy.pid})" in said
    assert (lab / "lab.json").exists()
    assert (source.parent / "placed-file").exists()


def test_a_switch_of_the_wrong_type_is_refused(source: Path, lab: Path) -> None:
    said = _reset(source, reset_runs="perhaps")
    assert not said.startswith("exit 0")
    assert "reset_runs" in said
    assert (lab / "lab.json").exists()


@pytest.mark.parametrize("where", [".", "/", ".."])
def test_a_home_directory_is_no_lab(source: Path, where: str) -> None:
    mine = source.parent / "home" / "env"
    mine.mkdir(parents=True)
    (source.parent / "home" / "lab.json").write_text("{}", encoding="utf-8")
    said = _reset(source, lab_dir=where)
    assert not said.startswith("exit 0")
    assert "is the home directory" in said
    assert mine.is_dir()


def test_somebodys_own_folders_are_no_lab(source: Path) -> None:
    mine = source.parent / "lab" / "env" / "bin"
    mine.mkdir(parents=True)
    said = _reset(source)
    assert not said.startswith("exit 0")
    assert "env may be somebody's own" in said
    assert mine.is_dir()


@pytest.mark.parametrize("proof", [".labctl-lab", "uv/pip_to_uv.py", "placed/system_packages.txt", "bundle/part-001/x"])
def test_what_was_interrupted_can_be_taken_off(source: Path, proof: str) -> None:
    path = source.parent / "lab" / proof
    (source.parent / "lab" / "env").mkdir(parents=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    said = _reset(source)
    assert said.startswith("exit 0"), said
    assert not (source.parent / "lab").exists()


def test_models_can_go_in_a_later_reset(source: Path, lab: Path) -> None:
    assert _reset(source).startswith("exit 0")
    said = _reset(source, reset_models=True)
    assert said.startswith("exit 0"), said
    assert _names(lab) == {"runs", "mine", ".labctl-lab"}


@pytest.mark.parametrize(
    "line",
    [
        "package --pre-invoke=sh",
        "package a b",
        "file /etc/passwd",
        "file /etc/apt/keyrings/labctl-/../../passwd",
        "service ssh",
        "group me sudo",
        "hold -x",
        "anything",
    ],
)
def test_a_line_that_no_role_writes_is_refused(source: Path, lab: Path, line: str) -> None:
    (lab / "placed" / "gpu_driver.txt").write_text(line + "\n", encoding="utf-8")
    said = _reset(source, "--check")
    assert not said.startswith("exit 0")
    assert f"does not put on a system: {line}" in said


def test_a_folder_in_a_ledger_is_refused(source: Path, lab: Path) -> None:
    (source.parent / "placed-file").unlink()
    (source.parent / "placed-file").mkdir()
    said = _reset(source)
    assert not said.startswith("exit 0")
    assert "The ledgers name a folder" in said
    assert (lab / "lab.json").exists()


@pytest.mark.parametrize("way", ["link", "relative"])
def test_a_lab_at_work_is_seen_through_links(source: Path, lab: Path, way: str) -> None:
    (lab / "env" / "bin" / "python").symlink_to(sys.executable)
    (source.parent / "other").symlink_to(lab)
    program = {"link": f"{source.parent}/other/env/bin/python", "relative": "env/bin/python"}[way]
    script = assets.folder("ansible") / "roles" / "reset" / "files" / "running.py"
    with subprocess.Popen([program, "-I", "-c", "import time; time.sleep(60)"], cwd=lab) as busy:
        command = [sys.executable, "-I", str(script), f"{lab}/env/bin", f"{lab}/python"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        busy.kill()
    assert said == f"[{busy.pid}]\n"
