"""A project whose host ``local`` is really provisioned, once for all tests; and the labctl program itself."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import ending, events, rundir, spec
from labctl.runner.serving import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
LABCTL = Path(sys.executable).with_name("labctl")


class Project:
    """Runs labctl in a project directory of its own, as a user would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lab_dir = folder / ".labctl" / "local"
        self.runs_dir = folder / "runs"
        self.env = {**os.environ, "LABCTL_INVENTORY": str(folder / "inventory.ini"), "COLUMNS": "200"}

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(LABCTL), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.env, **env},
            cwd=self.folder,
        )

    def __call__(
        self,
        *words: str,
        code: int = 0,
        timeout: float = 300.0,
        env: dict[str, str] | None = None,
        stderr: bool = True,
    ) -> str:
        process = self.start(*words, **(env or {}))
        out, err = process.communicate(timeout=timeout)
        assert process.returncode == code, f"labctl {' '.join(words)} gave {process.returncode}:\n{out}\n{err}"
        return out + err if stderr else out

    def newest(self) -> Path:
        return max(path for path in self.runs_dir.iterdir() if path.is_dir())

    def record(self, run: Path | None = None) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(((run or self.newest()) / "record.json").read_text(encoding="utf-8"))
        return found

    def host_record(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.lab_dir / "runs" / run_id / "record.json").read_text())
        return found

    def host_events(self, run_id: str) -> list[dict[str, Any]]:
        path = self.lab_dir / "runs" / run_id / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def until(true: Callable[[], object], within: float = 60.0) -> None:
    """Wait for something real to come true."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, f"it did not come true in {within} s"
        time.sleep(0.1)


def provisioned() -> Project:
    """Below .labctl, so that a second `make test` finds it provisioned and `make clean-all` removes it."""
    folder = ROOT / ".labctl" / "e2e"
    folder.mkdir(parents=True, exist_ok=True)
    made = Project(folder)
    # `make test` runs two sessions at once: the second one waits, and then finds it provisioned.
    with (folder / "provision.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        (folder / "inventory.ini").write_text("local ansible_connection=local\n")
        made("provision", "local", timeout=900)
    return made


@pytest.fixture(scope="session")
def project() -> Project:
    """The one provisioned project of all tests."""
    return provisioned()


@pytest.fixture(scope="package")
def server(project: Project) -> Iterator[Endpoint]:
    """The one real server of these tests: eager, opt-125m's size, with an API key.

    It has a lab directory of its own, so that it does not hold the lock of the project's.
    """
    lab = project.folder / ".labctl" / "shared"
    run_dir = lab / "runs" / f"shared-{os.getpid()}"
    run_dir.mkdir(parents=True)
    if not (lab / "models").exists():
        (lab / "models").symlink_to(project.lab_dir / "models")
    (lab / "lab.json").write_text((project.lab_dir / "lab.json").read_text())
    engine = {"enforce_eager": True, "max_model_len": 512}
    asked = {"lab": "shared", "model": "facebook/opt-125m", "workload": {"kind": "hold"}, "engine": engine}
    (run_dir / rundir.SPEC).write_text(spec.from_dict(asked).to_json())
    key = secrets.token_urlsafe(24)
    (lab / "secrets").mkdir(exist_ok=True)
    (lab / "secrets" / f"{run_dir.name}.json").write_text(json.dumps({"VLLM_API_KEY": key}))
    runner = [str(project.lab_dir / "env" / "bin" / "python"), "-I", "-m", "labctl.runner"]
    subprocess.run([*runner, str(run_dir)], check=True)
    try:
        until(lambda: ending.last(events.read(run_dir), "server") or (run_dir / rundir.SUMS).is_file(), 240)
        told = ending.last(events.read(run_dir), "server")
        assert told, ending.log_tail(run_dir)
        yield Endpoint(told["address"], told["port"], told["model"], key, told["pid"])
    finally:
        subprocess.run([*runner, "--stop", str(run_dir)], check=True)
        shutil.rmtree(run_dir)
