"""A project whose host ``local`` is really provisioned, once for all tests; and the labctl program itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

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
    (folder / "inventory.ini").write_text("local ansible_connection=local\n")
    made = Project(folder)
    made("provision", "local", timeout=900)
    return made


@pytest.fixture(scope="session")
def project() -> Project:
    """The one provisioned project of all tests."""
    return provisioned()
