"""Each role on hosts with systemd: syntax, check on a clean host, converge, a second run, then what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.molecule import scenario

if TYPE_CHECKING:
    from pathlib import Path

QUICK = ("gpu_driver", "container_runtime", "system_packages")
SLOW = ("python_env", "lab_runner")


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_scenario(docker_engine: Any, tmp_path: Path, name: str) -> None:
    code, said = scenario.run(docker_engine, name, tmp_path)
    assert code == 0, f"molecule test -s {name} gave {code}; its last words:\n{said[-6000:]}"


def test_every_scenario_is_run() -> None:
    assert {path.parent.name for path in scenario.HERE.glob("*/molecule.yml")} == {*QUICK, *SLOW}
