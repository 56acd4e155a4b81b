"""One Molecule scenario, run as `molecule test` would be by hand, with this machine's images and packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from labctl import runner_wheel
from tests.hosts import engine, image
from tests.hosts.test_engine import pip_conf

if TYPE_CHECKING:
    from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SUITES = {"debian12": "bookworm", "debian13": "trixie"}
# `registry`: Ubuntu and Rocky, for a machine that reaches one.
PLATFORMS = os.environ.get("LABCTL_MOLECULE_PLATFORMS", "debian")


def run(client: Any, name: str, system: str, folder: Path, **more: str) -> tuple[int, str]:
    """Its exit status and all it printed, on debian12 or debian13 (or all systems of a registry).

    ``folder`` takes its state. What it made is removed in any case.
    """
    env = {**os.environ, **_environment(client, name, system, folder), **more}
    configs = [word for part in ("base.yml", f"platforms/{PLATFORMS}.yml") for word in ("-c", str(HERE / part))]
    command = [str(Path(sys.executable).with_name("molecule")), *configs, "test", "-s", name, "--destroy", "always"]
    if PLATFORMS == "debian":
        command += ["--platform-name", f"{env['LABCTL_MOLECULE_ID']}-{system}"]
    # The status of an interrupted or failed step is the truth; Molecule's own table may say otherwise.
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def _environment(client: Any, name: str, system: str, folder: Path) -> dict[str, str]:
    # Folders of wheels lie on this machine alone.
    lines = [line for line in pip_conf()[0].splitlines() if not line.startswith("find-links")]
    (folder / "pip.conf").write_text("\n".join([*lines, ""]))
    # The other system's image is not looked at.
    tag = image.image(client, image.SYSTEMD, SUITES[system]) if PLATFORMS == "debian" else ""
    return {
        **{f"LABCTL_IMAGE_{suite.upper()}": tag for suite in SUITES.values()},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MOLECULE_GLOB": str(HERE / "*" / "molecule.yml"),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(folder / "molecule"),
        # Two sessions at a time do not share containers; a killed one's are swept by the next (tests/hosts/fleet.py).
        "LABCTL_MOLECULE_ID": f"labctl-{os.getpid()}-{name.replace('_', '-')}",
        "LABCTL_MOLECULE_OWNER": engine.owner(),
        "LABCTL_WHEEL": str(runner_wheel.build(folder)),
        "LABCTL_PIP_CONF": str(folder / "pip.conf"),
        "NO_COLOR": "1",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORKS": "2",
    }
