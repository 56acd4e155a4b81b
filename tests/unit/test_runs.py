from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from labctl import runs, seals
from labctl.errors import TransferError, UnreadableRunError
from labctl.runner import rundir
from tests.unit.sealed_run import ASKED

if TYPE_CHECKING:
    from pathlib import Path


def test_a_run_is_made_only_once(path: Path) -> None:
    with pytest.raises(TransferError, match="File exists"):
        runs.create(path.parent, path.name, "local", "/x", ASKED)


def test_a_run_that_never_started_is_forgotten(path: Path) -> None:
    runs.forget(path)
    assert not path.exists()


@pytest.mark.parametrize("run_id", ["../x", "", "a/b", ".hidden", "x" * 200, "a\nb"])
def test_a_bad_run_id_makes_no_directory(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(TransferError, match="no run id"):
        runs.create(tmp_path / "runs", run_id, "local", "/x", ASKED)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda p: (p / rundir.ENGINE_LOG).write_text("x"), "was altered"),
        (lambda p: (p / rundir.ENGINE_LOG).unlink(), "is missing"),
        (lambda p: (p / "new.txt").write_text("x"), "not in the manifest"),
        (lambda p: (p / ".hidden").write_text("x"), "not in the manifest"),
        (lambda p: (p / "link").symlink_to("/etc/passwd"), "not in the manifest"),
    ],
)
def test_check_sums_names_each_harm(host_dir: Path, harm: object, said: str) -> None:
    assert callable(harm)
    harm(host_dir)
    [problem] = seals.check_sums(host_dir)
    assert said in problem


def test_what_the_laptop_adds_is_outside_the_seal(host_dir: Path) -> None:
    (host_dir / "report").mkdir()
    (host_dir / "report" / "report.html").write_text("x")
    assert seals.check_sums(host_dir) == []


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (rundir.RECORD, None, "no readable run"),
        (rundir.RECORD, "{", "not JSON"),
        (rundir.RECORD, '{"schema": 7}', "schema 7"),
        (rundir.SPEC, '{"schema": 7}', "schema 7"),
        (rundir.SPEC, "\udcff", "no readable run"),
    ],
)
def test_an_unreadable_run_says_why(host_dir: Path, name: str, text: str | None, said: str) -> None:
    (host_dir / name).unlink()
    if text is not None:
        (host_dir / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UnreadableRunError, match=said) as caught:
        runs.load(host_dir)
    assert caught.value.exit_code == 9


def test_find(tmp_path: Path) -> None:
    for name in ("20261122T1-local-offline", "20261122T2-local-offline", "20261123T1-gpu1-server"):
        (tmp_path / name).mkdir()
        (tmp_path / name / rundir.SPEC).write_text("{}")
    (tmp_path / "zz-notes").mkdir()
    assert runs.find(tmp_path, None).name == "20261123T1-gpu1-server"
    assert runs.find(tmp_path, "20261122T2").name == "20261122T2-local-offline"
    assert runs.find(tmp_path, "server").name == "20261123T1-gpu1-server"
    with pytest.raises(UnreadableRunError, match="could be 2 runs"):
        runs.find(tmp_path, "20261122")
    with pytest.raises(UnreadableRunError, match="there is no run nothing"):
        runs.find(tmp_path, "nothing")


def test_listing_shows_broken_runs_too(host_dir: Path) -> None:
    (host_dir.parent / "r2").mkdir()
    (host_dir.parent / "r2" / rundir.SPEC).write_text("{}")
    (host_dir.parent / "r4").mkdir()
    (host_dir.parent / "r4" / rundir.RECORD).write_text("[" * 100_000)
    (host_dir.parent / "r3").mkdir()
    (host_dir.parent / "r3" / rundir.RECORD).write_text(json.dumps(["not", "a", "record"]))
    rows = runs.listing(host_dir.parent)
    states = [row["status"] for row in rows]
    assert states == ["ok", "not fetched", "unreadable", "unreadable"]
