"""A bundle's folder: parts of a size, checksums that sha256sum reads, and a second run that keeps what is whole."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from labctl.bundle.parts import Parts, about, listed, size
from labctl.errors import TransferError, UsageError
from labctl.runner import rundir

if TYPE_CHECKING:
    from pathlib import Path

ABOUT = {"for": {"python": "3.11"}, "lock_sha256": "0" * 64}
FILES = {"wheels/a.whl": b"a" * 700, "wheels/b.whl": b"b" * 2500, "models/opt/config.json": b"{}", "lock.txt": b""}


def made(folder: Path, most: int | None, files: dict[str, bytes] | None = None) -> Parts:
    parts = Parts(folder, most)
    parts.load()
    for name, data in (FILES if files is None else files).items():
        path = parts.incoming / "x"
        path.write_bytes(data)
        parts.add(name, path)
    return parts


def whole(folder: Path) -> dict[str, bytes]:
    """Every file out of its pieces."""
    files = listed(folder)
    return {name: b"".join((folder / piece).read_bytes() for piece in file.parts) for name, file in files.items()}


def tree(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize(
    ("text", "amount"),
    [("45MB", 45_000_000), ("45 MiB", 47_185_920), ("1.5GB", 1_500_000_000), ("2gib", 2**31), ("2000000", 2_000_000)],
)
def test_a_size_is_read_as_it_is_written(text: str, amount: int) -> None:
    assert size(text) == amount


@pytest.mark.parametrize("text", ["", "45", "45XB", "-3MB", "0GB", "1e9", "999KB", "MB", "٤٥MB"])
def test_an_odd_or_tiny_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="45MB"):
        size(text)


def test_no_part_is_larger_than_asked_and_nothing_is_lost(tmp_path: Path) -> None:
    parts = made(tmp_path / "b", 1000)
    parts.finish(ABOUT, {"check_bundle.py": b"#"})
    assert whole(tmp_path / "b") == FILES
    rows = parts.table()
    assert sum(row["bytes"] for row in rows) == parts.total == 3202
    assert max(row["bytes"] for row in rows) <= 1000
    for row in rows:
        inside = list((tmp_path / "b" / row["part"]).iterdir())
        assert (len(inside), sum(path.stat().st_size for path in inside)) == (row["files"], row["bytes"])


def test_without_a_size_there_is_one_part(tmp_path: Path) -> None:
    made(tmp_path / "b", None).finish(ABOUT, {})
    assert listed(tmp_path / "b")["wheels/b.whl"].parts == ("part-01/b.whl",)


def test_the_sums_name_every_file_but_themselves(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    made(folder, 1000).finish(ABOUT, {"check_bundle.py": b"#"})
    sums = rundir.manifest((folder / "SHA256SUMS").read_text())
    there = tree(folder)
    del there["SHA256SUMS"]
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in there.items()}
    assert about(folder)["for"] == {"python": "3.11"}


def test_a_second_run_keeps_what_is_whole_and_names_what_is_broken(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    made(folder, 1000).finish(ABOUT, {})
    piece = folder / listed(folder)["wheels/b.whl"].parts[1]
    piece.write_bytes(b"B" + piece.read_bytes()[1:])
    (folder / "part-01" / "left-over").write_bytes(b"half a file")
    kept = folder / listed(folder)["wheels/a.whl"].parts[0]
    before = kept.stat()
    parts = Parts(folder, 1000)
    assert parts.load() == ["wheels/b.whl"]
    assert sorted(parts.files) == sorted(set(FILES) - {"wheels/b.whl"})
    assert kept.stat().st_ino == before.st_ino
    assert kept.stat().st_mtime_ns == before.st_mtime_ns
    assert not (folder / "part-01" / "left-over").exists()
    # It is not whole meanwhile, and says so.
    with pytest.raises(TransferError, match="interrupted"):
        about(folder)


def test_what_was_in_place_when_it_was_killed_is_known(tmp_path: Path) -> None:
    made(tmp_path / "b", 1000)  # never finished
    parts = Parts(tmp_path / "b", 1000)
    assert parts.load() == []
    assert set(parts.files) == set(FILES)


def test_smaller_parts_hold_the_same_files(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    made(folder, None).finish(ABOUT, {})
    parts = Parts(folder, 600)
    assert parts.load() == []
    parts.finish(ABOUT, {})
    assert whole(folder) == FILES
    assert max(row["bytes"] for row in parts.table()) <= 600


def test_stale_files_go_with_their_parts(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    parts = made(folder, 1000)
    assert parts.only(["wheels/a.whl"]) == ["lock.txt", "models/opt/config.json", "wheels/b.whl"]
    parts.finish(ABOUT, {})
    assert sorted(tree(folder)) == ["SHA256SUMS", "bundle.json", "part-01/a.whl"]


def test_a_file_of_the_same_name_takes_the_place(tmp_path: Path) -> None:
    parts = made(tmp_path / "b", 1000)
    path = parts.incoming / "x"
    path.write_bytes(b"new")
    parts.add("wheels/b.whl", path)
    parts.finish(ABOUT, {})
    assert whole(tmp_path / "b") == {**FILES, "wheels/b.whl": b"new"}


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    (tmp_path / "part-01").mkdir()
    with pytest.raises(UsageError, match="something else"):
        Parts(tmp_path).load()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part-01", "thesis.tex"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 1}', '{"schema": 1, "files": {"a": 3}}', '{"files": []}'])
def test_a_broken_list_costs_the_files_and_nothing_else(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "b"
    made(folder, 1000).finish(ABOUT, {})
    (folder / "bundle.json").write_text(text)
    parts = Parts(folder, 1000)
    assert parts.load() == []
    assert parts.files == {}
    assert not list(folder.glob("part-*/*"))


def test_a_bundle_of_a_newer_labctl_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    made(folder, 1000).finish(ABOUT, {})
    told = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**told, "schema": 2}))
    with pytest.raises(TransferError, match="newer labctl"):
        about(folder)


def test_a_folder_that_is_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="no bundle"):
        about(tmp_path)
