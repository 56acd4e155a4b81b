"""Grids of runs on a real host over SSH: killed in the middle, gone on with, impossible points. The engine is a
stand-in (light_lab)."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import until
from tests.hosts import light_lab
from tests.hosts.holding import CLAIM, SPEC, START, hold
from tests.hosts.laptop import laptop_of
from tests.hosts.light_lab import begun, sealed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hosts.laptop import Laptop
    from tests.hosts.machine import Machine

RUN = ("run", "offline", "--model", light_lab.MODEL, "--host", "gpu1", "--repeats", "1")


@pytest.fixture(scope="module")
def bench(lab_host: Callable[..., Machine]) -> Machine:
    return lab_host("bench")


@pytest.fixture
def laptop(tmp_path: Path, bench: Machine) -> Laptop:
    return laptop_of(tmp_path, bench)


def prompts(*texts: str) -> tuple[str, str]:
    """A grid over prompts, which steer the stand-in."""
    return "--vary", "workload.prompts=" + ",".join(json.dumps([text]) for text in texts)


def told(laptop: Laptop) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(laptop("study", "--json", stderr=False))
    return found


def statuses(laptop: Laptop) -> list[str]:
    return [point["status"] for point in told(laptop)["points"]]


def test_a_grid_with_impossible_points(laptop: Laptop, bench: Machine) -> None:
    before = begun(bench)
    said = laptop(*RUN, "--vary", "engine.max_num_seqs=4,many", *prompts("hello", "fail"))
    study = told(laptop)
    assert [point["status"] for point in study["points"]] == ["ok", "failed", "refused", "refused"]
    assert study["vary"] == [["engine.max_num_seqs", [4, "many"]], ["workload.prompts", [["hello"], ["fail"]]]]
    errors = [point["error"] for point in study["points"]]
    assert errors[0] == ""
    assert "the stand-in was asked to fail" in errors[1]
    assert errors[2] == errors[3] == "engine argument max_num_seqs: 'many' is not a whole number or none."
    assert study["points"][0]["figures"]["kv_blocks"] == 455
    assert study["points"][0]["figures"]["throughput"] > 0
    assert "1 of 4 ok" in said
    runs = [point["run"] for point in study["points"]]
    assert begun(bench) - before == set(runs[:2])
    note = json.loads((laptop.runs_dir / runs[1] / "local" / "study.json").read_text())
    assert note == {"study": study["study"], "point": 1, "values": study["points"][1]["values"]}
    assert "0 problems" in laptop("verify", runs[0])
    [row] = json.loads(laptop("studies", "--json", stderr=False))
    assert (row["points"], row["ok"], row["failed"], row["left"]) == (4, 1, 3, 0)
    # Nothing is left to be done, and nothing is done.
    laptop("study", "--resume")
    assert [point["run"] for point in told(laptop)["points"]] == runs


@pytest.mark.slow
def test_a_grid_without_one_good_point_is_a_failure(laptop: Laptop) -> None:
    laptop(*RUN, *prompts("fail", "fail now"), code=1)
    assert statuses(laptop) == ["failed", "failed"]
    first = [point["run"] for point in told(laptop)["points"]]
    laptop("study", "--resume", "--retry", code=1)
    assert not set(first) & {point["run"] for point in told(laptop)["points"]}


@pytest.mark.slow
@pytest.mark.parametrize("step", [CLAIM, SPEC, START])
def test_a_labctl_that_was_killed_at_a_start(laptop: Laptop, bench: Machine, step: str) -> None:
    before = begun(bench)
    with hold(bench, step) as program:
        process = laptop.start(*RUN, *prompts("one", "two"))
        program.wait(process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
        program.release()
        if step == START:
            # What was begun comes to its end; its processes start others by the name that the held program has now.
            until(lambda: all(sealed(bench, run_id) for run_id in begun(bench) - before or ["none yet"]))
    assert "2 of 2 ok" in laptop("study", "--resume")
    assert begun(bench) - before == {point["run"] for point in told(laptop)["points"]}


@pytest.mark.slow
def test_points_that_are_done_are_not_run_again(laptop: Laptop, bench: Machine) -> None:
    """Killed while it followed the second of three: that run is followed again, the first is left alone."""
    before = begun(bench)
    process = laptop.start(*RUN, *prompts("one", "sleep 3", "three"))
    until(lambda: len(begun(bench) - before) == 2)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    assert statuses(laptop) == ["ok", "running", "waiting"]
    held_by = [point["run"] for point in told(laptop)["points"]]
    laptop("study", "--resume")
    after = [point["run"] for point in told(laptop)["points"]]
    assert statuses(laptop) == ["ok", "ok", "ok"]
    assert after[:2] == held_by[:2]
    assert begun(bench) - before == set(after)


def test_a_run_that_the_host_has_lost_is_run_again(laptop: Laptop, bench: Machine) -> None:
    """Killed while it followed the first, whose folder is gone by the time of --resume."""
    before = begun(bench)
    process = laptop.start(*RUN, *prompts("sleep 3", "two"))
    until(lambda: begun(bench) - before)
    [lost] = begun(bench) - before
    until((laptop.runs_dir / lost / "record.json").is_file)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    until(lambda: sealed(bench, lost))
    bench.shell(f"rm -r {bench.lab_dir}/runs/{lost}")
    assert "2 of 2 ok" in laptop("study", "--resume")
    assert lost not in {point["run"] for point in told(laptop)["points"]}
    assert f"{lost} is lost" in laptop("attach", lost, code=8)
    started = json.loads(laptop(*RUN, "--detach", "--json", stderr=False))
    assert [(row["host"], row["status"], row["code"]) for row in started] == [("gpu1", "started", 0)]
    laptop("attach", started[0]["run"])


def test_ctrl_c_pauses(laptop: Laptop, bench: Machine) -> None:
    before = begun(bench)
    process = laptop.start(*RUN, *prompts("sleep 4", "two"))
    until(lambda: begun(bench) - before)
    second = laptop.start("study", "--resume")
    _, err = second.communicate(timeout=30)
    assert (second.returncode, f"is being led by process {process.pid} already" in err) == (1, True), err
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    study = told(laptop)["study"]
    assert f"labctl study {study} --resume" in err
    assert "2 of 2 ok" in laptop("study", study, "--resume")
    assert len(begun(bench) - before) == 2


def test_a_busy_device_is_no_points_fault(laptop: Laptop) -> None:
    other = laptop(*RUN, "--prompt", "sleep 4", "--detach").splitlines()[0]
    said = laptop(*RUN, *prompts("one", "two"), code=1)
    assert f"held by run {other}" in said
    assert "--resume" in said
    assert statuses(laptop) == ["waiting", "waiting"]
    laptop("attach", other)
    assert "2 of 2 ok" in laptop("study", "--resume")


def test_what_the_host_has_not_got_is_said_before_anything_starts(laptop: Laptop, bench: Machine) -> None:
    before = begun(bench)
    said = laptop("run", "vary-tensor-parallel-size", "--host", "gpu1", code=2)
    assert "the lab vary-tensor-parallel-size needs 2 GPUs, and gpu1 has no GPUs: tensor parallelism splits" in said
    assert json.loads(laptop("studies", "--json", stderr=False)) == []
    assert begun(bench) == before


@pytest.mark.slow
def test_two_hosts_have_a_study_each(laptop: Laptop, gpu1: Machine) -> None:
    laptop.add(gpu1, "gpu2")
    laptop.know(gpu1)
    laptop(*RUN[:-4], "--host", "gpu1,gpu2", "--repeats", "1", *prompts("one", "two"))
    rows = json.loads(laptop("studies", "--json", stderr=False))
    assert {row["host"]: (row["ok"], row["left"]) for row in rows} == {"gpu1": (2, 0), "gpu2": (2, 0)}
