"""A lab directory whose runner is really started, in this very environment (which holds no vLLM)."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import processes, record, rundir, spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLAIN: dict[str, Any] = {
    "lab": "offline",
    "model": "facebook/opt-125m",
    "workload": {"prompts": ["Hello"]},
    "schema": 1,
}


class Lab:
    """Starts runs in a lab directory and waits for their seal."""

    def __init__(self, lab_dir: Path) -> None:
        self.lab_dir = lab_dir
        self.runs_dir = lab_dir / "runs"
        self.runs_dir.mkdir(parents=True, exist_ok=True)

    def make(self, name: str, asked: spec.RunSpec | str | None = None) -> Path:
        run_dir = self.runs_dir / name
        run_dir.mkdir()
        text = asked if isinstance(asked, str) else (asked or spec.from_dict(PLAIN)).to_json()
        (run_dir / rundir.SPEC).write_text(text, encoding="utf-8")
        return run_dir

    def runner(self, run_dir: Path, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-m", "labctl.runner", str(run_dir), *more]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def to_the_end(self, run_dir: Path, within: float = 60.0) -> record.RunRecord:
        deadline = time.monotonic() + within
        while not (run_dir / rundir.SUMS).is_file():
            assert time.monotonic() < deadline, f"{run_dir.name} was not sealed in {within} s"
            time.sleep(0.05)
        return record.from_json((run_dir / rundir.RECORD).read_text(encoding="utf-8"))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "lab")
    yield made
    for run_dir in made.runs_dir.iterdir():
        processes.end_run(run_dir)
