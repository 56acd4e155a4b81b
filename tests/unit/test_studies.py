from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from labctl import fates, labs, runs, studies, study_files, transfer
from labctl.commands import remote
from labctl.errors import LabError, RunGoneError, UnreadableRunError, UsageError
from labctl.grids import Axis, axes
from labctl.runner import record, rundir
from tests.unit.sealed_run import ASKED, session

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.studies import Study


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def study(runs_dir: Path, *values: int, **over: Any) -> Study:
    made = studies.plan(labs.read("offline"), "gpu1", "0.32.0", [Axis("seed", values or (1, 2))], over=over, env={})
    study_files.create(runs_dir, made)
    return made


def run_of(runs_dir: Path, one: Study, index: int, status: str = "", **error: str) -> str:
    """A run here of a study's point; ``status`` "": nothing of it has come yet."""
    path = runs.create(runs_dir, f"r{index}", "gpu1", "/nowhere", ASKED)
    studies.note(path, one, one.points[index])
    if status:
        told = record.RunRecord(
            run_id=path.name, status=status, spec_sha256=ASKED.sha256(), anchor={}, error=error or None
        )
        told.write(path)
        rundir.seal(path)
    return path.name


def statuses(runs_dir: Path, one: Study) -> list[tuple[str | None, str]]:
    return [(point.run, point.status) for point in study_files.load(runs_dir, one.study).points]


def test_a_study_is_kept_whole(runs_dir: Path) -> None:
    one = study(runs_dir, model="/a/folder")
    assert study_files.load(runs_dir, one.study) == one
    told = json.loads((runs_dir.parent / "studies" / f"{one.study}.json").read_text())
    assert told["vary"] == [["seed", [1, 2]]]
    assert told["points"][0] == {"values": {"seed": 1}, "run": None, "status": "waiting", "error": ""}
    assert {"schema", "study", "lab", "host", "vary", "points"} < set(told)


def test_two_studies_of_one_second_have_a_file_each(runs_dir: Path) -> None:
    one = study(runs_dir)
    other = dataclasses.replace(one)
    study_files.create(runs_dir, other)
    assert other.study == f"{one.study}-2"
    assert study_files.known(runs_dir) == [one.study, other.study]
    assert study_files.load(runs_dir, other.study).study == other.study


@pytest.mark.parametrize(
    ("status", "error", "now"),
    [
        ("ok", {}, "ok"),
        ("failed", {"kind": "engine", "message": "no"}, "failed"),
        ("failed", {"kind": "busy", "message": "held by another"}, "waiting"),
        ("failed", {"kind": "disk_full", "message": "full"}, "waiting"),
        ("stopped", {"kind": "stopped", "message": "on request"}, "stopped"),
        ("lost", {"kind": "lost", "message": "rebooted"}, "lost"),
        ("", {}, "running"),
    ],
)
def test_a_point_is_what_its_run_is(runs_dir: Path, status: str, error: dict[str, str], now: str) -> None:
    one = study(runs_dir)
    one.points[0].run, one.points[0].status = run_of(runs_dir, one, 0, status, **error), "running"
    study_files.save(runs_dir, one)
    found = study_files.load(runs_dir, one.study).points
    assert found[0].status == now
    assert found[0].run == (None if now == "waiting" else "r0")
    assert found[0].error == error.get("message", "")
    assert found[1].status == "waiting"


def test_a_run_that_the_study_had_no_time_to_name_is_found_by_its_note(runs_dir: Path) -> None:
    one = study(runs_dir)
    run_of(runs_dir, one, 1)
    runs.create(runs_dir, "another", "gpu1", "/nowhere", ASKED)
    assert statuses(runs_dir, one) == [(None, "waiting"), ("r1", "running")]


def test_a_run_that_never_started_or_is_gone_leaves_its_point_waiting(runs_dir: Path) -> None:
    one = study(runs_dir)
    name = run_of(runs_dir, one, 0)
    fates.mark(runs_dir / name, "not started", "labctl ended")
    one.points[1].run, one.points[1].status = "deleted", "running"
    study_files.save(runs_dir, one)
    assert statuses(runs_dir, one) == [(None, "waiting"), (None, "waiting")]


def test_what_is_done_is_not_asked_again(runs_dir: Path) -> None:
    one = study(runs_dir)
    one.points[0].run, one.points[0].status = "fetched and thrown away", "ok"
    study_files.save(runs_dir, one)
    assert statuses(runs_dir, one)[0] == ("fetched and thrown away", "ok")


def test_a_run_forgotten_takes_its_note_along(runs_dir: Path) -> None:
    one = study(runs_dir)
    name = run_of(runs_dir, one, 0)
    runs.forget(runs_dir / name)
    assert not (runs_dir / name).exists()


def test_names_of_studies(runs_dir: Path) -> None:
    with pytest.raises(UnreadableRunError, match="there is no study yet"):
        study_files.find(runs_dir, None)
    one = study(runs_dir)
    two = dataclasses.replace(one)
    study_files.create(runs_dir, two)
    assert study_files.find(runs_dir, None).study == two.study
    assert study_files.find(runs_dir, one.study).study == one.study, "the whole id counts, though it is part of another"
    with pytest.raises(UnreadableRunError, match="could be 2 studies"):
        study_files.find(runs_dir, "offline")
    with pytest.raises(UnreadableRunError, match="no study nothing"):
        study_files.find(runs_dir, "nothing")
    study_files.forget(runs_dir, two)
    assert study_files.known(runs_dir) == [one.study]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"schema": 2}',
        '{"schema": 1, "points": [3]}',
        '{"schema": 1, "points": []}',
        "[" * 9999,
    ],
)
def test_a_broken_study_is_named(runs_dir: Path, text: str) -> None:
    (runs_dir.parent / "studies").mkdir()
    (runs_dir.parent / "studies" / "s.json").write_text(text)
    with pytest.raises(UnreadableRunError, match=r"s\.json"):
        study_files.load(runs_dir, "s")


def test_a_lab_that_json_cannot_hold(runs_dir: Path) -> None:
    lab = {**labs.read("offline"), "description": {1, 2}}
    made = studies.plan(lab, "gpu1", "0.32.0", [Axis("seed", (1, 2))], over={}, env={})
    with pytest.raises(UsageError, match="no text can hold"):
        study_files.create(runs_dir, made)
    assert study_files.known(runs_dir) == []


def test_one_leads(runs_dir: Path) -> None:
    one = study(runs_dir)
    with study_files.leading(runs_dir, one.study):
        with pytest.raises(LabError, match="is being led by process"), study_files.leading(runs_dir, one.study):
            pass
        with study_files.leading(runs_dir, "another"):
            pass
    with study_files.leading(runs_dir, one.study):
        pass


def test_a_run_that_its_host_has_no_more_is_lost_and_one_of_a_silent_host_may_go_on(runs_dir: Path) -> None:
    one = study(runs_dir)
    for index, gone in enumerate((True, False)):
        fates.mark(runs_dir / run_of(runs_dir, one, index), "lost", "no answer", gone=gone)
    points = study_files.load(runs_dir, one.study).points
    assert [(point.run, point.status, point.error) for point in points] == [
        ("r0", "lost", "no answer"),
        ("r1", "running", "no answer"),
    ]


def test_a_folder_that_the_host_has_no_more_loses_the_run(runs_dir: Path, tmp_path: Path) -> None:
    one = study(runs_dir)
    path = runs_dir / run_of(runs_dir, one, 0)
    with pytest.raises(RunGoneError, match="r0 is lost") as caught, remote.telling(path), remote.telling(path):
        transfer.mirror(session(), str(tmp_path / "gone"), path)
    assert caught.value.next_command == f"labctl run {path}/spec.json --host gpu1"
    assert study_files.load(runs_dir, one.study).points[0].status == "lost"


def test_one_study_is_of_one_version(runs_dir: Path) -> None:
    one = study(runs_dir)
    one.settle("0.31.0")  # what `auto` turned out to be, before anything was run
    assert one.vllm == "0.31.0"
    one.points[0].run, one.points[0].status = "r0", "ok"
    one.settle("0.31.0")
    with pytest.raises(LabError, match=r"has vLLM 0\.32\.0 now, and points of .* were run with 0\.31\.0"):
        one.settle("0.32.0")
    one.points[0].status = "lost"
    one.settle("0.32.0")


@pytest.mark.parametrize("values", ["temperature=0,0.0", "max_tokens=16,016"])
def test_equal_points_are_refused(values: str) -> None:
    lab = labs.read("offline")
    with pytest.raises(UsageError, match="two points of that grid are one and the same run"):
        studies.plan(lab, "gpu1", "0.32.0", axes(lab, [f"sampling.{values}"]), over={}, env={})


def test_a_note_names_its_own_point(runs_dir: Path) -> None:
    one = study(runs_dir)
    one.points = [dataclasses.replace(one.points[0]), one.points[0]]
    path = runs_dir / run_of(runs_dir, one, 1)
    assert fates.note(path / runs.STUDY)["point"] == 1


def test_a_new_study_appears_whole_or_not_at_all(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rundir, "write_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            study(runs_dir)
    assert study_files.known(runs_dir) == []


def test_what_another_labctl_has_done_meanwhile_is_taken_over(runs_dir: Path) -> None:
    late = study(runs_dir)
    other = study_files.load(runs_dir, late.study)
    for point in other.points:
        point.run, point.status = "r", "ok"
    other.vllm = "0.31.0"
    study_files.save(runs_dir, other)
    study_files.renew(runs_dir, late)
    assert late == other


def test_what_the_runs_came_to_is_written_down_unless_someone_leads(runs_dir: Path) -> None:
    one = study(runs_dir)
    one.points[0].run, one.points[0].status = run_of(runs_dir, one, 0, "ok"), "running"
    study_files.save(runs_dir, one)
    path = study_files.place(runs_dir, one)

    def written() -> str:
        found: str = json.loads(path.read_text())["points"][0]["status"]
        return found

    with study_files.leading(runs_dir, one.study):
        study_files.settle(runs_dir, study_files.load(runs_dir, one.study))
    assert written() == "running"
    study_files.settle(runs_dir, study_files.load(runs_dir, one.study))
    assert written() == "ok"
    before = path.stat().st_mtime_ns
    study_files.settle(runs_dir, study_files.load(runs_dir, one.study))
    assert path.stat().st_mtime_ns == before
