"""An environment on a Python that has PyTorch.

PyTorch is a made-up package of that name here: what is tested is where packages are seen from, not what they do.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.integration import roles
from tests.integration.test_roles import source

__all__ = ["source"]

# What a CUDA build says of itself; its metadata may leave out the build, as on a rented H100.
VERSION, PUBLIC = "2.11.0+cu130", "2.11.0"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
UV = Path(sys.executable).with_name("uv")


def _write(site: Path, name: str, version: str, code: str = "") -> None:
    """A package as an installer leaves it."""
    (site / name).mkdir()
    (site / name / "__init__.py").write_text(f"__version__ = {version!r}\n{code}", encoding="utf-8")
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    (info / "INSTALLER").write_text("pip\n", encoding="utf-8")
    files = [f"{name}/__init__.py", f"{info.name}/METADATA", f"{info.name}/INSTALLER", f"{info.name}/RECORD"]
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files), encoding="utf-8")


def _wheel(folder: Path, name: str, version: str) -> str:
    """A wheel, and its line in a lock."""
    info = f"{name}-{version}.dist-info"
    texts = {
        f"{name}/__init__.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for path, text in texts.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        rows.append(f"{path},sha256={digest},{len(text)}")
    made = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in {**texts, f"{info}/RECORD": "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"}.items():
            archive.writestr(path, text)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(made.read_bytes()).hexdigest()}\n"


def _inventory(folder: Path) -> dict[str, bytes]:
    """Every file, but for bytecode."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture
def torch_env(tmp_path: Path) -> Path:
    """A virtual environment with a `torch`, a package of another version than the lock's, and a .pth file."""
    folder = tmp_path / "torch-env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    site = folder / "lib" / f"python{HERE}" / "site-packages"
    _write(site, "torch", PUBLIC, "from torch.version import __version__\n")
    (site / "torch" / "version.py").write_text(f"__version__ = {VERSION!r}\n", encoding="utf-8")
    _write(site, "older", "1.0")
    (site / "hidden").mkdir()
    (site / "hidden" / "deep.py").write_text("found = True\n", encoding="utf-8")
    (site / "hidden.pth").write_text("hidden\n", encoding="utf-8")
    return folder


def _plan(python: Path) -> dict[str, Any]:
    base = str(Path(sysconfig.get_config_var("BINDIR") or sys.base_prefix) / f"python{HERE}")
    row = {"executable": str(python), "base": base, "version": HERE, "torch": {"version": VERSION, "cuda": "13.0"}}
    return {"mode": "existing", "python": HERE, "base": str(python), "existing": row, "variant": "cuda"}


def _ask(python: Path, code: str) -> Any:
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def _with_uv(lab: Path) -> None:
    """The program uv is there already, so that no network is asked for it."""
    (lab / "uv" / "bin").mkdir(parents=True)
    shutil.copy2(UV, lab / "uv" / "bin" / "uv")


def test_a_venv_on_a_venv_sees_its_torch_and_leaves_it_as_it_is(source: Path, torch_env: Path, tmp_path: Path) -> None:
    lab = source.parent / "lab"
    _with_uv(lab)
    before = _inventory(torch_env)
    said = roles.play(source, ["python_env"], _plan(torch_env / "bin" / "python"))
    assert said.startswith("exit 0"), said
    python = lab / "env" / "bin" / "python"
    code = "import json, torch, older, deep; print(json.dumps([torch.__version__, torch.__file__, older.__version__]))"
    site = torch_env / "lib" / f"python{HERE}" / "site-packages"
    assert _ask(python, code) == [VERSION, str(site / "torch" / "__init__.py"), "1.0"]
    # What the lock wants in another version is installed beside it, and wins; the one that was there stays.
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    lock = tmp_path / "lock.txt"
    lock.write_text(_wheel(wheels, "older", "2.0"), encoding="utf-8")
    install: list[str | Path] = [
        UV,
        "pip",
        "install",
        "--python",
        python,
        "--no-deps",
        "--require-hashes",
        "--offline",
        "--no-index",
    ]
    subprocess.run([*install, "--find-links", wheels, "--requirement", lock], check=True, timeout=60)
    assert _ask(python, code) == [VERSION, str(site / "torch" / "__init__.py"), "2.0"]
    assert _inventory(torch_env) == before


def test_a_torch_that_is_not_the_planned_one_is_told(source: Path, torch_env: Path) -> None:
    lab = source.parent / "lab"
    _with_uv(lab)
    site = torch_env / "lib" / f"python{HERE}" / "site-packages"
    shutil.rmtree(site / "torch")
    shutil.rmtree(site / f"torch-{PUBLIC}.dist-info")
    said = roles.play(source, ["python_env"], _plan(torch_env / "bin" / "python"))
    assert not said.startswith("exit 0")
    assert "set python_env_mode to uv" in said
