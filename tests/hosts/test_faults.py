"""What goes wrong on the way, at known steps, and what must remain. The engine is a stand-in (light_lab)."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from labctl.runner import rundir
from tests.e2e.conftest import until
from tests.hosts import light_lab
from tests.hosts.holding import CLAIM, FETCH, MIRROR, SPEC, START, hold
from tests.hosts.laptop import laptop_of
from tests.hosts.light_lab import begun, sealed
from tests.unit.report.report_page_checks import check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hosts.laptop import Laptop
    from tests.hosts.machine import Machine

RUN = ("run", "offline", "--model", light_lab.MODEL, "--host", "gpu1")
# In each of two passes.
LONG = ("--prompt", "sleep 2", "--repeats", "1")
BIG = ("--prompt", "bytes 3000000", "--repeats", "1")


@pytest.fixture(scope="module")
def frail(lab_host: Callable[..., Machine]) -> Machine:
    """One host for every fault that can be mended."""
    return lab_host("frail")


@pytest.fixture
def laptop(tmp_path: Path, frail: Machine) -> Laptop:
    return laptop_of(tmp_path, frail)


def broken(host: Machine) -> None:
    """Every connection is reset."""
    host.restart_sshd(kill_sessions=True)


def dropped(host: Machine) -> None:
    """Packets get lost for a while; connections live on."""
    host.cut()
    time.sleep(3)
    host.mend()


def silent(host: Machine) -> None:
    """Packets get lost until nobody waits for them any more."""
    host.cut()
    time.sleep(25)
    host.mend()


def frozen(host: Machine) -> None:
    """The host takes a breath."""
    host.pause()
    time.sleep(3)
    host.unpause()


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (SPEC, broken),
        (START, broken),
        (MIRROR, broken),
        (SPEC, dropped),
        (FETCH, frozen),
        *(pytest.param(step, silent, marks=pytest.mark.slow) for step in (SPEC, START, MIRROR, FETCH)),
        *(pytest.param(step, frozen, marks=pytest.mark.slow) for step in (SPEC, START, MIRROR)),
    ],
)
def test_a_line_that_fails_starts_a_run_exactly_once(
    laptop: Laptop, frail: Machine, step: str, fault: Callable[[Machine], None]
) -> None:
    before = begun(frail)
    with hold(frail, step, part=100_000 if step == FETCH else 0) as program:
        process = laptop.start(*RUN, *BIG)
        program.wait(process)
        fault(frail)
        program.release()
        out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert f"run: {laptop.newest().name} (ok)" in out
    assert begun(frail) - before == {laptop.newest().name}
    assert "0 problems" in laptop("verify")


@pytest.mark.parametrize("step", [CLAIM, SPEC, START, MIRROR, FETCH])
def test_a_killed_labctl_loses_nothing(laptop: Laptop, frail: Machine, step: str) -> None:
    before = begun(frail)
    with hold(frail, step, part=100_000 if step == FETCH else 0) as program:
        process = laptop.start(*RUN, *BIG)
        program.wait(process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
        program.release()
        # What sshd had begun to run comes to its own end.
        time.sleep(0.5)
    runs = json.loads(laptop("runs", "--json", stderr=False))
    if step == CLAIM:
        assert runs == []
    elif step == SPEC:
        assert [row["status"] for row in runs] == ["not fetched"]
        said = laptop("attach", code=9)
        assert "was never started on gpu1" in said
        assert re.search(r"labctl run \S+/spec.json --host gpu1", said)
        assert [row["status"] for row in json.loads(laptop("runs", "--json", stderr=False))] == ["not started"]
    else:
        assert "(ok)" in laptop("attach")
        assert "0 problems" in laptop("verify")
    started = 0 if step in {CLAIM, SPEC} else 1
    assert len(begun(frail) - before) == started
    assert "(ok)" in laptop(*RUN), "nothing left behind stands in the way"


def test_a_line_that_is_silent_for_long(laptop: Laptop, frail: Machine) -> None:
    """Packets are dropped until long after the run has ended: the same command brings it home."""
    process = laptop.start(*RUN, *LONG)
    until(lambda: list(laptop.runs_dir.glob("*/events.jsonl")))
    frail.cut()
    run_id = laptop.newest().name
    until(lambda: sealed(frail, run_id))
    time.sleep(18)  # longer than any exchange waits
    frail.mend()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "no answer, trying again" in err
    assert f"run: {run_id} (ok)" in out
    assert "0 problems" in laptop("verify")


def test_a_fetch_that_breaks_resumes(laptop: Laptop, frail: Machine) -> None:
    run_id = laptop(*RUN, *BIG, "--detach").splitlines()[0]
    until(lambda: sealed(frail, run_id))
    part = 1_000_000
    with hold(frail, FETCH, part=part) as program:
        process = laptop.start("fetch", run_id)
        program.wait(process)
        outputs = laptop.runs_dir / run_id / rundir.OUTPUTS
        until(lambda: outputs.is_file() and outputs.stat().st_size >= part)
        frail.restart_sshd(kill_sessions=True)
        _, err = process.communicate(timeout=60)
        program.release()
    assert process.returncode == 4, err
    assert f"labctl attach {run_id}" in err
    frail.write("/usr/local/bin/tail", b'#!/bin/sh\necho "$@" >> /tmp/asked\nexec /usr/bin/tail "$@"\n', mode=0o755)
    assert "sealed and verified: ok" in laptop("fetch", run_id)
    asked = frail.shell("rm /usr/local/bin/tail; cat /tmp/asked; rm /tmp/asked")
    assert re.search(rf"^-c \+{part + 1} -- ./{rundir.OUTPUTS}$", asked, re.MULTILINE), asked
    assert "0 problems" in laptop("verify", run_id)


def test_a_restarted_sshd_goes_unnoticed(laptop: Laptop, frail: Machine) -> None:
    process = laptop.start(*RUN, *LONG)
    until(lambda: list(laptop.runs_dir.glob("*/events.jsonl")))
    frail.restart_sshd()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, "(ok)" in out) == (0, True), err
    assert "trying again" not in err


def test_a_host_that_vanishes_and_comes_back(laptop: Laptop, machine: Callable[..., Machine]) -> None:
    host = machine("spot")
    light_lab.install(host)
    laptop.add(host, "spot")
    laptop.know(host)
    words = ("run", "offline", "--model", light_lab.MODEL, "--host", "spot", "--prompt", "sleep 60", "--patience", "3")
    process = laptop.start(*words)
    until(lambda: list(laptop.runs_dir.glob("*/samples.csv")))
    time.sleep(2.5)
    host.stop()
    _, err = process.communicate(timeout=90)
    run = laptop.newest()
    assert process.returncode == 4
    assert f"kept as a lost run: {run}/report/report.html" in err
    assert f"labctl attach {run.name}" in err
    assert "Traceback" not in err
    [row] = json.loads(laptop("runs", "--json", stderr=False))
    assert (row["status"], "spot cannot be reached" in row["note"] or "line to spot" in row["note"]) == ("lost", True)
    page = " ".join(check((run / "report" / "report.html").read_text()).text.split())
    for expected in ("Lost", "not sealed", "in phase: warmup", "CPU KV cache size"):
        assert expected in page, expected
    assert "kv_tokens" in laptop("show")
    assert "not sealed" in laptop("verify", code=9)
    assert "cannot be reached" in laptop("attach", code=4)
    host.start()
    said = laptop("attach", code=1)
    assert f"run: {run.name} (lost)" in said
    assert "its supervisor was killed" in said
    assert "0 problems" in laptop("verify")
    assert "not sealed" not in (run / "report" / "report.html").read_text()


def test_a_full_disk_on_the_host(laptop: Laptop, machine: Callable[..., Machine]) -> None:
    host = machine("small", tmpfs={"/data": "20m"})
    light_lab.install(host, "/data/lab")
    laptop.add(host, "small", lab_dir="/data/lab")
    laptop.know(host)
    words = ("run", "offline", "--model", light_lab.MODEL, "--host", "small")
    said = laptop(*words, "--prompt", "bytes 30000000", code=1)
    assert "disk is full" in said
    told = laptop.record()
    assert (told["status"], told["error"]["kind"]) == ("failed", "disk_full")
    assert "0 problems" in laptop("verify")
    host.shell("rm -r /data/lab/runs/*; dd if=/dev/zero of=/data/full bs=64k || true")
    before = sorted(laptop.runs_dir.iterdir())
    said = laptop(*words, code=8)
    assert "No space left on device" in said
    assert sorted(laptop.runs_dir.iterdir()) == before
    host.shell("rm /data/full")
    assert "(ok)" in laptop(*words)


def test_a_full_disk_on_the_laptop(laptop: Laptop, frail: Machine) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    laptop.runs_dir.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", laptop.runs_dir], check=True)
    try:
        said = laptop(*RUN, *BIG, code=8)
        assert "No space left on device" in said
        assert "labctl attach" in said
        assert "Traceback" not in said
        run_id = laptop.newest().name
        until(lambda: sealed(frail, run_id))
        subprocess.run(["mount", "-o", "remount,size=64m", laptop.runs_dir], check=True)
        assert f"run: {run_id} (ok)" in laptop("attach", run_id)
        assert "0 problems" in laptop("verify", run_id)
    finally:
        subprocess.run(["umount", laptop.runs_dir], check=True)
        shutil.rmtree(laptop.runs_dir)


def test_a_clock_that_is_an_hour_off(laptop: Laptop, machine: Callable[..., Machine]) -> None:
    host = machine("clock", clock=3600)
    light_lab.install(host)
    laptop.add(host, "clock")
    laptop.know(host)
    assert "(ok)" in laptop("run", "offline", "--model", light_lab.MODEL, "--host", "clock")
    assert "0 problems" in laptop("verify")
    told = laptop.record()
    assert 0 < told["ended_s"] < 60
    assert all(phase["seconds"] < 60 for phase in told["phases"])
    assert "(ok)" in laptop(*RUN)
    rows = json.loads(laptop("runs", "--json", stderr=False))
    assert [row["host"] for row in rows] == ["clock", "gpu1"], "the laptop's clock orders its runs"
