"""A small run as a host leaves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.inventory import Host
from labctl.runner import record, rundir, spec
from labctl.sessions.local import LocalSession

if TYPE_CHECKING:
    from pathlib import Path

HERE = Host(name="local", connection="local", lab_dir="/nowhere", address="localhost")
ASKED = spec.from_dict({"lab": "offline", "model": "m", "workload": {"prompts": ["a"]}})


def session() -> LocalSession:
    return LocalSession(HERE)


def seal_run(folder: Path) -> Path:
    (folder / "logs").mkdir(parents=True)
    (folder / rundir.SPEC).write_text(ASKED.to_json())
    (folder / rundir.ENGINE_LOG).write_text("     0.100 a line\n" * 100)
    record.RunRecord(
        run_id=folder.name, status="ok", spec_sha256=ASKED.sha256(), anchor={"utc": "", "monotonic": 0.0}
    ).write(folder)
    rundir.seal(folder)
    return folder
