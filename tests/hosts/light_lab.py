"""Makes a test host look provisioned, with a stand-in for vLLM: for tests of the line, not of the engine."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from labctl import runner_wheel
from tests.e2e.conftest import ROOT

if TYPE_CHECKING:
    from tests.hosts.machine import Machine

VLLM = "0.32.0"
# A folder on the host: given as ``--model``, it needs no hub and nothing of PyTorch.
MODEL = "/opt/labctl-test-model"
_STAND_IN = Path(__file__).with_name("stand_in")
SITE = "env/lib/python3.11/site-packages"
_METADATA = "Metadata-Version: 2.1\nName: vllm\nVersion: {version}\nSummary: a stand-in of labctl's tests\n"
# As the roles lab_runner and vllm make them.
_FOLDERS = ("runs", "models", "cache", "locks", "wheels", "secrets", "tmp")
_CONFIG = {"architectures": ["OPTForCausalLM"], "model_type": "opt", "torch_dtype": "float32"}


def install(machine: Machine, lab_dir: str = "", *, runner: str = "") -> str:
    """A lab in ``lab_dir`` (default: machine.lab_dir), owned by the machine's user; its path.

    ``runner``: the version that lab.json tells, where it is not to be the true one.
    """
    lab = lab_dir or machine.lab_dir
    machine.unpack(_archive(lab, runner or runner_wheel.version()), lab)
    machine.shell(
        f"chown -R {machine.user}: {lab} && chmod -R u=rwX,go= {lab}/runs {lab}/models {lab}/cache {lab}/locks "
        f"{lab}/wheels {lab}/secrets && mkdir -p {MODEL} && echo '{json.dumps(_CONFIG)}' > {MODEL}/config.json"
    )
    machine.shell(f"python3 -m venv --without-pip --system-site-packages {lab}/env", user=machine.user)
    return lab


def begun(machine: Machine) -> set[str]:
    """Ids of the runs that were ever started in the machine's lab."""
    said = machine.shell(f"cd {machine.lab_dir}/runs && ls -d */.started 2>/dev/null | cut -d/ -f1", check=False)
    return set(said.split())


def sealed(machine: Machine, run_id: str) -> bool:
    """Whether one of them has ended and told all."""
    return "SHA256SUMS" in machine.shell(f"ls {machine.lab_dir}/runs/{run_id}", check=False)


def card(lab: str, runner: str) -> dict[str, object]:
    """lab.json as the role lab_runner writes it."""
    return {
        "schema": 1,
        "python": f"{lab}/env/bin/python",
        "vllm": VLLM,
        "variant": "cpu",
        "runner": runner,
        "uv": "0.13.9",
        "compiler": True,
        "missing": [],
    }


def _archive(lab: str, runner: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in _FOLDERS:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o700
            archive.addfile(entry)
        told = json.dumps(card(lab, runner), indent=1, sort_keys=True) + "\n"
        for name, data in {**site(), "lab.json": told.encode()}.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


@cache
def site() -> dict[str, bytes]:
    """{path: bytes} of the environment's packages: labctl's true runner, and the stand-in."""
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(runner_wheel.build(Path(scratch))) as wheel:
        files = {name: wheel.read(name) for name in wheel.namelist()}
    for path in _STAND_IN.rglob("*.py"):
        files[path.relative_to(_STAND_IN).as_posix()] = path.read_bytes()
    # The stand-in refuses what vLLM of this version would refuse.
    table = ROOT / "labctl" / "argtables" / "data" / f"vllm-{VLLM}.json"
    files["vllm/arguments.json"] = table.read_bytes()
    files[f"vllm-{VLLM}.dist-info/METADATA"] = _METADATA.format(version=VLLM).encode()
    return {f"{SITE}/{name}": data for name, data in files.items()}
