"""What a host does with a bundle: verify, join, refuse by name. The program runs on any Python from 3.8 on."""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from labctl import assets
from tests.unit.test_bundle_parts import ABOUT, FILES, made

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = assets.folder("ansible") / "roles" / "bundle" / "files" / "check_bundle.py"
ALL = {**FILES, "controller/labctl.whl": b"labctl"}


def load() -> Any:
    spec = importlib.util.spec_from_file_location("check_bundle", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHECK = load()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made(tmp_path / "b", 1000, ALL).finish(ABOUT, {"check_bundle.py": b"#", "install-controller.sh": b"#"})
    return tmp_path / "b"


def said(folder: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    CHECK.main([str(folder), *flags])
    return capsys.readouterr().out


def refused(folder: Path, *flags: str) -> str:
    with pytest.raises(SystemExit) as left:
        CHECK.main([str(folder), *flags])
    return str(left.value.code)


def joined(folder: Path) -> dict[str, bytes]:
    root = folder / "joined"
    found = (path for path in root.rglob("*") if path.is_file() and path.name != ".seen.json")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def test_it_joins_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(folder, capsys) == "joined 5 files\n"
    assert joined(folder) == ALL
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert said(folder, capsys) == "nothing to do\n"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_whole_file_takes_no_more_room(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(folder, capsys)
    part = next(folder.glob("part-*/a.whl"))
    assert part.samefile(folder / "joined" / "wheels" / "a.whl")


@pytest.mark.parametrize("before", [True, False])
def test_a_tampered_part_is_refused_by_name(folder: Path, capsys: pytest.CaptureFixture[str], *, before: bool) -> None:
    if before:
        said(folder, capsys)
    part = next(folder.glob("part-*/b.whl.002"))
    facts = part.stat()
    part.write_bytes(b"B" * facts.st_size)
    os.utime(part, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # same size, same time
    assert refused(folder).endswith(f"is refused: {part.relative_to(folder)} was altered")
    assert before or not joined(folder)
    # And it is not forgotten: what was right once does not count.
    assert "was altered" in refused(folder)


def test_a_missing_part_is_refused_by_name(folder: Path) -> None:
    part = next(folder.glob("part-*/b.whl.003"))
    part.unlink()
    assert refused(folder).endswith(f"is refused: {part.relative_to(folder)} is missing")


def test_a_link_in_place_of_a_part_is_refused(folder: Path, tmp_path: Path) -> None:
    part = next(folder.glob("part-*/a.whl"))
    part.rename(tmp_path / "elsewhere")
    part.symlink_to(tmp_path / "elsewhere")
    assert refused(folder).endswith("a.whl is missing")


def test_a_tampered_list_is_refused(folder: Path) -> None:
    (folder / "bundle.json").write_text((folder / "bundle.json").read_text().replace("a.whl", "../../a.whl"))
    assert refused(folder).endswith("is refused: bundle.json was altered")
    assert not (folder / "joined").exists()


def test_labctl_itself_may_be_absent_unless_all_is_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next(folder.glob("part-*/controller--labctl.whl")).unlink()
    (folder / "install-controller.sh").unlink()
    assert said(folder, capsys) == "joined 4 files\n"
    assert joined(folder) == FILES
    assert said(folder, capsys) == "nothing to do\n"
    assert "controller--labctl.whl is missing" in refused(folder, "--all")


def test_what_is_joined_is_mended_and_tidied(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(folder, capsys)
    (folder / "joined" / "wheels" / "old.whl").write_bytes(b"of another lock")
    (folder / "joined" / "wheels" / "b.whl").write_bytes(b"cut")
    assert said(folder, capsys) == "joined 2 files\n"
    assert joined(folder) == ALL


def test_verifying_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(folder, capsys, "--verify") == "nothing to do\n"
    assert not (folder / "joined").exists()


def test_an_interrupted_bundle_is_refused(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()
    assert "not whole" in refused(folder)


@pytest.mark.parametrize("line", ["x", f"{'0' * 64}  ../../etc/passwd", f"{'0' * 64}  /etc/passwd", f"{'0' * 64} a"])
def test_odd_sums_are_refused(folder: Path, line: str) -> None:
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{line}\n")
    assert "odd line" in refused(folder)


def test_it_parses_on_python_3_8_and_needs_nothing() -> None:
    tree = ast.parse(PROGRAM.read_text(), feature_version=(3, 8))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= set(sys.stdlib_module_names)
