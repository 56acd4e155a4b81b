"""An installed labctl, not a checkout: the wheel holds what provisioning and the labs need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    translate = ROOT / "ansible" / "roles" / "python_env" / "files" / "pip_to_uv.py"
    command = [sys.executable, str(translate), str(UV), "build", "--quiet", "--wheel", "-o", str(folder), str(ROOT)]
    locked = ["--build-constraints", str(ROOT / "ansible" / "locks" / "build.txt"), "--require-hashes"]
    env = {**os.environ, "UV_CACHE_DIR": str(ROOT / ".labctl" / "cache" / "uv")}
    subprocess.run([*command, *locked], check=True, timeout=120, env=env)
    [wheel] = folder.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def ask(site: Path, code: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, env=env, cwd=site.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_can_provision(unpacked: Path) -> None:
    said = ask(unpacked, "from labctl import assets; print(assets.folder('ansible') / 'playbooks' / 'provision.yml')")
    assert Path(said.strip()).is_file()
    assert said.startswith(str(unpacked))


def test_it_makes_the_same_runner_as_the_checkout(unpacked: Path) -> None:
    code = "from labctl import runner_wheel; print(runner_wheel.version())"
    assert ask(unpacked, code) == ask(ROOT, code)


def test_it_has_the_labs_and_the_tables(unpacked: Path) -> None:
    code = "from labctl import argtables, labs; print(*labs.bundled(), len(argtables.versions()))"
    said = ask(unpacked, code)
    assert said.split()[:-1] == sorted(path.stem for path in (ROOT / "labctl" / "labs").glob("*.toml"))
    assert int(said.split()[-1]) >= 19


def test_it_can_build_a_report(unpacked: Path, tmp_path: Path) -> None:
    run = ROOT / "tests" / "data" / "runs" / "cpu-offline"
    build = f"page.build(Path({str(run)!r}), into=Path({str(tmp_path)!r}))"
    code = f"from pathlib import Path; from labctl.report import page; print({build})"
    assert Path(ask(unpacked, code).strip()).is_file()
