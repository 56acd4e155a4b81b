from __future__ import annotations

import base64
import csv
import hashlib
import io
import shutil
import zipfile
from typing import TYPE_CHECKING

import pytest

from labctl import __version__, runner_wheel
from labctl.assets import PACKAGE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that a test may change."""
    copy = tmp_path / "labctl"
    (copy / "runner").mkdir(parents=True)
    shutil.copy(PACKAGE / "__init__.py", copy)
    (copy / "runner" / "__init__.py").write_text('"""The lab program."""\n', encoding="utf-8")
    (copy / "runner" / "spec.py").write_text("SCHEMA = 1\n", encoding="utf-8")
    monkeypatch.setattr(runner_wheel, "PACKAGE", copy)
    runner_wheel.version.cache_clear()
    return copy


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = runner_wheel.build(tmp_path / "one"), runner_wheel.build(tmp_path / "two")
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()


def test_the_name_carries_the_version_and_the_version_the_content(package: Path, tmp_path: Path) -> None:
    before = runner_wheel.build(tmp_path).name
    assert before == f"labctl_runner-{runner_wheel.version()}-py3-none-any.whl"
    assert runner_wheel.version().startswith(f"{__version__}+r")
    (package / "runner" / "spec.py").write_text("SCHEMA = 2\n", encoding="utf-8")
    assert runner_wheel.build(tmp_path).name != before


def test_moving_text_between_files_changes_the_version(package: Path) -> None:
    before = runner_wheel.checksum(runner_wheel.contents())
    (package / "runner" / "spec.py").rename(package / "runner" / "other.py")
    assert runner_wheel.checksum(runner_wheel.contents()) != before


def test_bytecode_does_not_travel(package: Path) -> None:
    cache = package / "runner" / "__pycache__"
    cache.mkdir()
    (cache / "spec.cpython-311.pyc").write_bytes(b"x")
    assert sorted(runner_wheel.contents()) == [
        "labctl/__init__.py",
        "labctl/runner/__init__.py",
        "labctl/runner/spec.py",
    ]


def test_record_names_every_file_with_its_checksum(tmp_path: Path) -> None:
    with zipfile.ZipFile(runner_wheel.build(tmp_path)) as archive:
        assert archive.testzip() is None
        info = f"labctl_runner-{runner_wheel.version()}.dist-info"
        rows = {name: (digest, size) for name, digest, size in csv.reader(io.StringIO(_text(archive, info, "RECORD")))}
        assert sorted(rows) == sorted(archive.namelist())
        assert rows.pop(f"{info}/RECORD") == ("", "")
        for name, (digest, size) in rows.items():
            data = archive.read(name)
            raw = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            assert (digest, size) == (f"sha256={raw}", str(len(data)))


def test_metadata_has_the_name_and_no_dependency(tmp_path: Path) -> None:
    with zipfile.ZipFile(runner_wheel.build(tmp_path)) as archive:
        info = f"labctl_runner-{runner_wheel.version()}.dist-info"
        metadata = _text(archive, info, "METADATA")
        assert "Name: labctl-runner\n" in metadata
        assert f"Version: {runner_wheel.version()}\n" in metadata
        assert "Requires-Dist" not in metadata
        assert "Tag: py3-none-any\n" in _text(archive, info, "WHEEL")


def test_nothing_but_the_runner_travels() -> None:
    assert all(name == "labctl/__init__.py" or name.startswith("labctl/runner/") for name in runner_wheel.contents())
    assert "labctl/runner/spec.py" in runner_wheel.contents()


def _text(archive: zipfile.ZipFile, info: str, name: str) -> str:
    return archive.read(f"{info}/{name}").decode()
