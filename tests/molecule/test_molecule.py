"""Each role on hosts with systemd: syntax, check on a clean host, converge, a second run, then what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.molecule import scenario

if TYPE_CHECKING:
    from pathlib import Path

BOTH = ("gpu_driver", "container_runtime", "system_packages")
# vLLM's CPU build is for Python 3.11: Debian 13 has none, and uv fetches one only where GitHub is reached.
TWELVE = ("python_env", "lab_runner")
# system_packages is quick enough, but tests/hosts/test_provision.py applies it in `make test` already.
QUICK = [("container_runtime", "debian12")]
SLOW = [
    *((name, "debian13") for name in BOTH),
    *((name, "debian12") for name in (*TWELVE, "gpu_driver", "system_packages")),
]


@pytest.mark.parametrize(("name", "system"), [*QUICK, *(pytest.param(*one, marks=pytest.mark.slow) for one in SLOW)])
def test_scenario(docker_engine: Any, tmp_path: Path, name: str, system: str) -> None:
    code, said = scenario.run(docker_engine, name, system, tmp_path)
    assert code == 0, f"molecule test -s {name} gave {code}; its last words:\n{said[-6000:]}"


def test_every_scenario_is_run() -> None:
    assert {path.parent.name for path in scenario.HERE.glob("*/molecule.yml")} == {*BOTH, *TWELVE}
