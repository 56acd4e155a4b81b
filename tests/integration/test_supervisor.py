"""The supervisor for real: processes, locks, signals, seals. Its worker ends at once: there is no vLLM here."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from labctl import runs, seals, transfer
from labctl.errors import TransferError
from labctl.inventory import Host
from labctl.runner import ending, processes, record, rundir, spec, supervisor
from labctl.sessions.local import LocalSession
from tests.integration.conftest import PLAIN, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def sums_hold(run_dir: Path) -> bool:
    done = subprocess.run(["sha256sum", "--check", "--quiet", rundir.SUMS], cwd=run_dir, check=False)
    return done.returncode == 0


def test_a_run_that_cannot_import_vllm_is_data(lab: Lab) -> None:
    run_dir = lab.make("r1")
    began = time.monotonic()
    done = lab.runner(run_dir)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert time.monotonic() - began < 5, "the caller must not wait for the run"
    told = lab.to_the_end(run_dir)
    assert told.status == "failed"
    assert told.error is not None
    assert (told.error["kind"], told.error["phase"], told.error["exit"]) == ("engine", "import", 1)
    assert "No module named 'vllm'" in told.error["message"]
    assert any("ModuleNotFoundError" in line for line in told.error["log_tail"])
    assert told.nodes[0]["machine"]["cpu"]["count"] == os.cpu_count()
    assert told.nodes[0]["packages"]["typer"]
    assert sums_hold(run_dir)
    assert not (run_dir / ".reserve").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        (json.dumps({**PLAIN, "schema": 3}), "schema 3"),
        (json.dumps({**PLAIN, "workload": {"prompts": []}}), "no prompts"),
    ],
)
def test_a_spec_that_cannot_be_run_is_recorded(lab: Lab, text: str, said: str) -> None:
    run_dir = lab.make("r1", text)
    lab.runner(run_dir)
    told = lab.to_the_end(run_dir)
    assert told.status == "failed"
    assert told.error is not None
    assert told.error["kind"] == "spec"
    assert said in told.error["message"]


def test_a_run_directory_without_spec_says_so(lab: Lab) -> None:
    (lab.runs_dir / "r1").mkdir()
    done = lab.runner(lab.runs_dir / "r1")
    assert done.returncode == 1
    assert "spec.json" in done.stderr


def test_a_run_that_never_started_is_not_waited_for(lab: Lab) -> None:
    done = lab.runner(lab.make("r1"), "--seal")
    assert (done.returncode, done.stderr) == (1, "the run never started there\n")


def test_a_directory_takes_one_run_only(lab: Lab) -> None:
    run_dir = lab.make("r1")
    lab.runner(run_dir)
    told = lab.to_the_end(run_dir)
    again = lab.runner(run_dir)
    assert (again.returncode, "started in this directory already" in again.stderr) == (1, True)
    assert record.from_json((run_dir / rundir.RECORD).read_text()) == told
    assert sums_hold(run_dir)


def test_an_old_run_that_cannot_be_read_costs_no_new_one(lab: Lab) -> None:
    (lab.make("old") / rundir.RECORD).write_bytes(b"\xff\xfe")
    told = lab.to_the_end(start(lab, "new"))
    assert told.error is not None
    assert told.error["phase"] == "import", "it got as far as a run without vLLM can"


def start(lab: Lab, name: str) -> Path:
    run_dir = lab.make(name)
    assert lab.runner(run_dir).returncode == 0
    return run_dir


def test_the_second_run_names_the_holder(lab: Lab) -> None:
    (lab.lab_dir / "locks").mkdir()
    with (lab.lab_dir / "locks" / "cpu.lock").open("w") as lock:
        json.dump({"run_id": "the-first", "pid": 7, "since": "2026-11-22T10:00:00Z"}, lock)
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        run_dir = lab.make("r2")
        lab.runner(run_dir)
        told = lab.to_the_end(run_dir)
    assert told.error is not None
    assert told.error["kind"] == "busy"
    assert "run the-first (pid 7, since 2026-11-22T10:00:00Z; `labctl stop the-first`)" in told.error["message"]


def test_secrets_reach_the_worker_but_no_file(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "kept-out-of-the-log-0001")
    run_dir = lab.make("r1")
    (lab.lab_dir / "secrets").mkdir()
    secret = lab.lab_dir / "secrets" / "r1.json"
    secret.write_text(json.dumps({"HF_TOKEN": "hf_abcdefghijklmnopqrstuvwxyz"}))
    lab.runner(run_dir)
    lab.to_the_end(run_dir)
    assert not secret.exists()
    for path in run_dir.rglob("*"):
        if path.is_file():
            assert b"hf_abcdef" not in path.read_bytes(), path
            assert b"kept-out-of-the-log-0001" not in path.read_bytes(), path


def test_a_sampler_that_does_not_hear_costs_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_SAMPLER_GRACE", 0.2)
    waiting = "import signal, time; signal.signal(15, lambda *_: exit(0)); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", waiting], stdout=subprocess.PIPE) as sampler:
        assert sampler.stdout is not None
        assert sampler.stdout.readline() == b"\n"
        sampler.send_signal(signal.SIGSTOP)
        supervisor._end(sampler)
        assert sampler.wait(timeout=10) == -signal.SIGKILL


def test_a_secret_that_nobody_came_for_is_swept(lab: Lab) -> None:
    (lab.lab_dir / "secrets").mkdir()
    old, fresh = (lab.lab_dir / "secrets" / f"{name}.json" for name in ("old", "fresh"))
    half = lab.lab_dir / "secrets" / "half.json.part"
    for secret in (old, fresh, half):
        secret.write_text("{}")
    for secret in (old, half):
        os.utime(secret, (0, 0))
    lab.to_the_end(start(lab, "r1"))
    assert not old.exists()
    assert not half.exists()
    assert fresh.exists(), "its run may be about to start"


@pytest.fixture
def sleeper(lab: Lab) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A run that says running, and a process of it that outlived its supervisor."""
    run_dir = lab.make("old")
    (run_dir / "logs").mkdir()
    (run_dir / rundir.EVENTS).write_text('{"t": 1.0, "event": "begin", "phase": "engine"}\n')
    (run_dir / rundir.ENGINE_LOG).write_text("     1.000 the last line\n")
    env = {**os.environ, processes.MARK: str(run_dir)}
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=env)
    told = record.RunRecord(
        run_id="old",
        status="running",
        spec_sha256=rundir.sha256(run_dir / rundir.SPEC),
        anchor={"utc": "", "monotonic": 0.0},
        supervisor={"pid": left.pid, "start_ticks": processes.start_ticks(left.pid), "boot_id": processes.boot_id()},
    )
    told.write(run_dir)
    yield run_dir, left
    left.kill()
    left.wait()


def test_a_living_run_is_never_sealed_by_another(lab: Lab, sleeper: tuple[Path, subprocess.Popen[bytes]]) -> None:
    run_dir, left = sleeper
    assert lab.runner(run_dir, "--seal").returncode == 0
    assert not (run_dir / rundir.SUMS).exists()
    assert left.poll() is None


@pytest.mark.parametrize(
    ("change", "said"),
    [({"start_ticks": 1}, "its supervisor was killed"), ({"boot_id": "another boot"}, "the host was rebooted")],
)
def test_a_lost_run_is_sealed_and_its_leftovers_end(
    lab: Lab, sleeper: tuple[Path, subprocess.Popen[bytes]], change: dict[str, object], said: str
) -> None:
    run_dir, left = sleeper
    told = record.from_json((run_dir / rundir.RECORD).read_text())
    told.supervisor |= change
    told.write(run_dir)
    assert lab.runner(run_dir, "--seal").returncode == 0
    told = record.from_json((run_dir / rundir.RECORD).read_text())
    assert told.status == "lost"
    assert told.error is not None
    assert (told.error["phase"], told.error["log_tail"]) == ("engine", ["     1.000 the last line"])
    assert said in told.error["message"]
    assert sums_hold(run_dir)
    assert left.wait(timeout=5) == -signal.SIGTERM


def test_a_run_that_ended_unsealed_keeps_its_status(lab: Lab, sleeper: tuple[Path, subprocess.Popen[bytes]]) -> None:
    run_dir, _ = sleeper
    told = record.from_json((run_dir / rundir.RECORD).read_text())
    told.status, told.supervisor["start_ticks"] = "failed", 1
    told.error = {"kind": "disk_full", "phase": "engine", "message": "full"}
    told.write(run_dir)
    assert lab.runner(run_dir, "--seal").returncode == 0
    told = record.from_json((run_dir / rundir.RECORD).read_text())
    assert told.status == "failed"
    assert told.error is not None
    assert told.error["kind"] == "disk_full"
    assert sums_hold(run_dir)


def test_a_new_run_sweeps_the_lost_ones(lab: Lab, sleeper: tuple[Path, subprocess.Popen[bytes]]) -> None:
    run_dir, left = sleeper
    told = record.from_json((run_dir / rundir.RECORD).read_text())
    told.supervisor["boot_id"] = "another boot"
    told.write(run_dir)
    lab.runner(lab.make("new"))
    lab.to_the_end(lab.runs_dir / "new")
    assert record.from_json((run_dir / rundir.RECORD).read_text()).status == "lost"
    assert left.wait(timeout=5) == -signal.SIGTERM


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 3 MiB: the reserve (2 MiB) fits, a growing log does not."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no right to mount a small disk: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_still_gets_its_record(small_disk: Path) -> None:
    lab = Lab(small_disk / "lab")
    run_dir = lab.make("r1")
    # Room for the reserve and the first record, not for what a run writes after them.
    free = os.statvfs(small_disk).f_bavail * 4096
    (small_disk / "filler").write_bytes(b"\0" * (free - supervisor.RESERVE_BYTES - 20 * 1024))
    lab.runner(run_dir)
    told = lab.to_the_end(run_dir)
    assert told.status == "failed"
    assert told.error is not None
    assert told.error["kind"] == "disk_full", told.error
    assert sums_hold(run_dir)


def test_a_disk_too_full_to_start_says_so(small_disk: Path) -> None:
    lab = Lab(small_disk / "lab")
    run_dir = lab.make("r1")
    with (small_disk / "filler").open("wb", buffering=0) as handle:
        try:
            while True:
                handle.write(b"\0" * 4096)
        except OSError:
            pass
    done = lab.runner(run_dir)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr


def test_a_full_disk_on_the_laptop_loses_nothing(small_disk: Path, lab: Lab) -> None:
    run_dir = lab.make("r1")
    lab.runner(run_dir)
    lab.to_the_end(run_dir)
    here = Host(name="local", connection="local", lab_dir=str(lab.lab_dir), address="localhost")
    path = runs.create(small_disk / "runs", "r1", "local", str(run_dir), spec.from_dict(PLAIN))
    free = os.statvfs(small_disk).f_bavail * 4096
    (small_disk / "filler").write_bytes(b"\0" * (free - 8192))
    with pytest.raises(TransferError, match="No space left on device") as caught:
        transfer.fetch(LocalSession(here), str(run_dir), path)
    assert caught.value.exit_code == 8
    (small_disk / "filler").unlink()
    transfer.fetch(LocalSession(here), str(run_dir), path)
    assert seals.check_sums(path) == []


def test_a_record_that_cannot_be_made_is_sealed_with_its_reason(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = lab.make("r1")
    made = supervisor.Supervisor(run_dir, {})
    made.record.nodes = [{"name": "n"}]

    def judge(*_: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(ending, "judge", judge)
    made._finish(ending.Outcome(code=0))
    told = record.from_json((run_dir / rundir.RECORD).read_text(encoding="utf-8"))
    assert (told.status, told.nodes) == ("failed", [{"name": "n"}])
    assert told.error is not None
    assert told.error["message"] == "the record could not be completed: RecursionError: too deep"
    assert sums_hold(run_dir)
