"""Makes a test host look provisioned with the real vLLM: the packages of the project's own environment, lent.

Test hosts and this machine run the same Debian and Python, so that nothing is installed twice; the runner is this
checkout's.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from labctl import runner_wheel
from tests.e2e.conftest import ROOT, provisioned

if TYPE_CHECKING:
    from tests.hosts.machine import Machine

# Where a host sees what lies below .labctl here.
SHARED = "/srv/labctl"
_SITE = "lib/python3.11/site-packages"


def binds(name: str) -> tuple[str, str]:
    """What a host of this name must see: the packages, and a folder of its own for models and caches that is kept."""
    kept = ROOT / ".labctl" / "hosts" / "span" / name
    for folder in ("models", "cache"):
        (kept / folder).mkdir(parents=True, exist_ok=True)
    return f"{ROOT}/.labctl:{SHARED}:ro", f"{kept}:{SHARED}-kept"


def install(machine: Machine) -> str:
    """A lab in machine.lab_dir; its path. The project's environment is provisioned where it is not yet."""
    made = provisioned()
    lab, lent = machine.lab_dir, f"{SHARED}/{made.lab_dir.relative_to(ROOT / '.labctl')}"
    machine.shell(f"mkdir -p {' '.join(f'{lab}/{name}' for name in ('runs', 'locks', 'secrets', 'tmp'))}")
    machine.shell(f"ln -sfn {SHARED}-kept/cache {lab}/cache; ln -sfn {SHARED}-kept/models {lab}/models")
    machine.shell(f"python3 -m venv --without-pip {lab}/env")
    machine.unpack(_runner(), f"{lab}/env/{_SITE}")
    # Behind its own packages, of which there is one: this checkout's runner.
    machine.write(f"{lab}/env/{_SITE}/lent.pth", f"{lent}/env/{_SITE}\n".encode())
    card = json.loads((made.lab_dir / "lab.json").read_text())
    card |= {"python": f"{lab}/env/bin/python", "runner": runner_wheel.version()}
    machine.write(f"{lab}/lab.json", json.dumps(card).encode())
    return lab


def _runner() -> bytes:
    """The runner's wheel as a tar archive."""
    packed = io.BytesIO()
    with (
        tempfile.TemporaryDirectory() as scratch,
        zipfile.ZipFile(runner_wheel.build(Path(scratch))) as wheel,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name in wheel.namelist():
            data = wheel.read(name)
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()
