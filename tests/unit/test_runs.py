from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from labctl import runs
from labctl.errors import TransferError, UnreadableRunError
from labctl.inventory import Host
from labctl.runner import record, rundir, spec
from labctl.sessions.local import LocalSession

if TYPE_CHECKING:
    from pathlib import Path

HERE = Host(name="local", connection="local", lab_dir="/nowhere", address="localhost")


def session() -> LocalSession:
    return LocalSession(HERE)


ASKED = spec.from_dict({"lab": "offline", "model": "m", "workload": {"prompts": ["a"]}})


def sealed(folder: Path) -> Path:
    """A small sealed run as a host leaves it."""
    (folder / "logs").mkdir(parents=True)
    asked = ASKED
    (folder / rundir.SPEC).write_text(asked.to_json())
    (folder / rundir.ENGINE_LOG).write_text("     0.100 a line\n" * 100)
    record.RunRecord(
        run_id=folder.name, status="ok", spec_sha256=asked.sha256(), anchor={"utc": "", "monotonic": 0.0}
    ).write(folder)
    rundir.seal(folder)
    return folder


@pytest.fixture
def host_dir(tmp_path: Path) -> Path:
    return sealed(tmp_path / "host" / "r1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return runs.create(tmp_path / "runs", "r1", "local", str(tmp_path / "host" / "r1"), ASKED)


def test_fetch_brings_everything_and_checks_it(host_dir: Path, path: Path) -> None:
    runs.fetch(session(), str(host_dir), path)
    assert runs.check_sums(path) == []
    assert runs.load(path).host == "local"
    assert (path / rundir.ENGINE_LOG).read_bytes() == (host_dir / rundir.ENGINE_LOG).read_bytes()


def test_a_broken_fetch_resumes(host_dir: Path, path: Path) -> None:
    (path / "logs").mkdir()
    (path / rundir.ENGINE_LOG).write_bytes((host_dir / rundir.ENGINE_LOG).read_bytes()[:37])
    runs.fetch(session(), str(host_dir), path)
    assert runs.check_sums(path) == []


def test_what_arrived_wrong_is_fetched_again(host_dir: Path, path: Path) -> None:
    good = (host_dir / rundir.ENGINE_LOG).read_bytes()
    (path / "logs").mkdir()
    (path / rundir.ENGINE_LOG).write_bytes(b"#" * len(good))
    runs.fetch(session(), str(host_dir), path)
    assert (path / rundir.ENGINE_LOG).read_bytes() == good


def test_a_host_that_seals_one_thing_and_sends_another(host_dir: Path, path: Path) -> None:
    (host_dir / rundir.ENGINE_LOG).write_text("altered after the seal")
    with pytest.raises(TransferError, match=r"engine\.log is not what was sealed"):
        runs.fetch(session(), str(host_dir), path)


def test_a_file_that_the_manifest_lacks(host_dir: Path, path: Path) -> None:
    (host_dir / "extra.txt").write_text("x")
    with pytest.raises(TransferError, match=r"extra\.txt is not in the manifest"):
        runs.fetch(session(), str(host_dir), path)


def test_a_run_that_is_not_sealed(host_dir: Path, path: Path) -> None:
    (host_dir / rundir.SUMS).unlink()
    with pytest.raises(TransferError, match="not sealed yet"):
        runs.fetch(session(), str(host_dir), path)
    assert (path / rundir.ENGINE_LOG).is_file()


def test_links_are_refused(host_dir: Path, path: Path) -> None:
    (host_dir / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(TransferError, match="no plain file"):
        runs.fetch(session(), str(host_dir), path)
    assert not (path / "passwd").exists()


def test_a_sparse_giant_is_refused(host_dir: Path, path: Path) -> None:
    with (host_dir / "big").open("wb") as handle:
        handle.truncate(10 * 1024**3)
    with pytest.raises(TransferError, match="fetches up to"):
        runs.mirror(session(), str(host_dir), path)
    assert not (path / "big").exists()


def test_nothing_is_written_through_a_link(host_dir: Path, path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (path / rundir.RECORD).symlink_to(victim)
    with pytest.raises(TransferError, match="is a link"):
        runs.mirror(session(), str(host_dir), path)
    assert victim.read_text() == "precious"


def test_ones_own_note_in_a_run_does_not_spoil_a_fetch(host_dir: Path, path: Path) -> None:
    (path / "my-notes.txt").write_text("mine")
    runs.fetch(session(), str(host_dir), path)
    assert runs.check_sums(path) == ["my-notes.txt is not in the manifest"]


def test_a_run_is_made_only_once(path: Path) -> None:
    with pytest.raises(TransferError, match="File exists"):
        runs.create(path.parent, path.name, "local", "/x", ASKED)


def test_a_run_that_never_started_is_forgotten(path: Path) -> None:
    runs.forget(path)
    assert not path.exists()


def test_a_folder_of_the_laptops_own_is_never_written_by_the_host(host_dir: Path, path: Path) -> None:
    (host_dir / "local").mkdir()
    (host_dir / "local" / "origin.json").write_text('{"host": "evil"}')
    with pytest.raises(TransferError, match="unsafe path"):
        runs.mirror(session(), str(host_dir), path)
    assert runs.origin(path)["host"] == "local"


def test_a_run_the_host_does_not_have(tmp_path: Path, path: Path) -> None:
    with pytest.raises(TransferError, match="no run directory"):
        runs.mirror(session(), str(tmp_path / "gone"), path)


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
    [problem] = runs.check_sums(host_dir)
    assert said in problem


def test_what_the_laptop_adds_is_outside_the_seal(host_dir: Path) -> None:
    (host_dir / "report").mkdir()
    (host_dir / "report" / "report.html").write_text("x")
    assert runs.check_sums(host_dir) == []


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
