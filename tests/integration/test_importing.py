"""Archives that travelled by hand: what is whole comes in, and what lies gets nowhere."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from labctl import fates, importing, runs, transfer
from labctl.errors import LabError, TransferError, UnreadableRunError
from labctl.runner import rundir
from tests.unit.sealed_run import seal_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """A project on the far machine, with one run."""
    run = seal_run(tmp_path / "far" / "runs" / "r1")
    (run / "local").mkdir()
    (run / "local" / "origin.json").write_text(json.dumps({"host": "island", "remote_dir": "/x"}))
    (run / "report").mkdir()
    (run / "report" / "report.html").write_text("<script>theirs</script>")
    return tmp_path / "far"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "here" / "runs"


def packed(folder: Path, kind: str) -> Path:
    return type(folder)(shutil.make_archive(str(folder.parent / "runs"), kind, folder))


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for info, data in members:
            info.size = info.size or len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def left(folder: Path) -> list[str]:
    """What lies in runs/, its scratch folder included."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def refusal(source: Path, here: Path) -> LabError:
    """The error, of the whole archive or of its one run; nothing is left of it."""
    try:
        [one] = importing.take(source, here)
    except LabError as error:
        found = error
    else:
        assert one.came == "refused"
        assert one.error is not None
        found = one.error
    assert left(here) == []
    return found


@pytest.mark.parametrize("kind", ["tar", "gztar", "xztar", "bztar", "zip", "folder"])
def test_a_run_comes_in_as_it_was_sealed(far: Path, here: Path, kind: str) -> None:
    source = far if kind == "folder" else packed(far, kind)
    [one] = importing.take(source, here)
    assert (one.run, one.came, one.sealed) == ("r1", "taken", True)
    assert runs.origin(here / "r1") == {"host": "island", "remote_dir": None, "archive": source.name}
    assert not (here / "r1" / "report").exists()
    assert left(here) == ["r1"]
    again = [one.came for one in importing.take(source, here)]
    assert again == ["here"]


def test_the_run_itself_is_taken_too(far: Path, here: Path) -> None:
    [one] = importing.take(far / "runs" / "r1", here)
    assert one.came == "taken"


def test_another_content_never_takes_its_place(far: Path, here: Path, tmp_path: Path) -> None:
    list(importing.take(far, here))
    run = tmp_path / "other" / "r1"
    shutil.copytree(far / "runs" / "r1", run)
    (run / rundir.ENGINE_LOG).write_text("another\n")
    rundir.seal(run)
    before = (here / "r1" / rundir.ENGINE_LOG).read_bytes()
    [one] = importing.take(tmp_path / "other", here)
    assert (one.came, type(one.error)) == ("refused", TransferError)
    assert "move" in one.note
    assert (here / "r1" / rundir.ENGINE_LOG).read_bytes() == before


def test_an_altered_file_is_refused_by_name_and_another_run_comes_in(far: Path, here: Path) -> None:
    seal_run(far / "runs" / "r2")
    (far / "runs" / "r1" / rundir.ENGINE_LOG).write_text("prettier\n")
    came = {one.run: one for one in importing.take(far, here)}
    assert came["r1"].came == "refused"
    assert f"{rundir.ENGINE_LOG} is not what was sealed" in came["r1"].note
    assert isinstance(came["r1"].error, TransferError)
    assert came["r2"].came == "taken"
    assert left(here) == ["r2"]


def test_a_file_beside_the_seal_is_refused(far: Path, here: Path) -> None:
    (far / "runs" / "r1" / "more.txt").write_text("x")
    assert "more.txt is not in the manifest" in str(refusal(far, here))


def test_without_a_seal_it_is_marked(far: Path, here: Path) -> None:
    (far / "runs" / "r1" / rundir.SUMS).unlink()
    [one] = importing.take(far, here)
    assert (one.came, one.sealed) == ("taken", False)
    assert "not sealed" in one.note
    assert fates.noted(here / "r1")["status"] == "lost"


def test_a_run_that_was_lost_here_is_completed(far: Path, here: Path) -> None:
    list(importing.take(far, here))
    (here / "r1" / rundir.SUMS).unlink()
    log = here / "r1" / rundir.ENGINE_LOG
    whole = log.read_bytes()
    log.write_bytes(whole[:50])
    fates.mark(here / "r1", "lost", "silence")
    [one] = importing.take(far, here)
    assert one.came == "completed"
    assert log.read_bytes() == whole
    assert not (here / "r1" / fates.NAME).exists()
    assert [one.came for one in importing.take(far, here)] == ["here"]


def test_what_was_mirrored_of_another_run_is_not_completed(far: Path, here: Path) -> None:
    list(importing.take(far, here))
    (here / "r1" / rundir.SUMS).unlink()
    (here / "r1" / rundir.ENGINE_LOG).write_text("another beginning")
    [one] = importing.take(far, here)
    assert "not the beginning" in one.note
    assert (here / "r1" / rundir.ENGINE_LOG).read_text() == "another beginning"


@pytest.mark.parametrize(
    "name",
    [
        "../r1/spec.json",
        "/etc/r1/spec.json",
        "a/../../r1/spec.json",
        "a\\b/spec.json",
        "a//spec.json",
        "\x1b/spec.json",
    ],
)
def test_paths_that_leave_the_folder_are_refused(here: Path, tmp_path: Path, name: str) -> None:
    source = tar(tmp_path / "evil.tar", (tarfile.TarInfo(name), b"{}"))
    assert "unsafe path" in str(refusal(source, here))
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(name, "{}")
    if "\\" not in name:  # zipfile itself turns nothing around on Linux, but other programs do
        assert "unsafe path" in str(refusal(tmp_path / "evil.zip", here))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(far: Path, here: Path, tmp_path: Path, kind: bytes) -> None:
    odd = tarfile.TarInfo("runs/r1/logs/odd")
    odd.type, odd.linkname = kind, "/etc/passwd"
    source = tar(tmp_path / "odd.tar", (tarfile.TarInfo("runs/r1/spec.json"), b"{}"), (odd, b""))
    assert "no plain file" in str(refusal(source, here))
    del far


def test_links_in_a_folder_and_in_a_zip_are_refused(far: Path, here: Path, tmp_path: Path) -> None:
    (far / "runs" / "r1" / "logs" / "x").symlink_to("/etc")
    assert "no plain file" in str(refusal(far, here))
    info = zipfile.ZipInfo("r1/x")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "l.zip", "w") as archive:
        archive.writestr("r1/spec.json", "{}")
        archive.writestr(info, "/etc/passwd")
    assert "no plain file" in str(refusal(tmp_path / "l.zip", here))


def test_a_bomb_is_refused_before_it_is_unpacked(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MAX_BYTES", 10**6)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("r1/spec.json", "{}")
        archive.writestr("r1/zeros", b"\0" * 10**7)
    assert "more than" in str(refusal(tmp_path / "bomb.zip", here))
    source = tar(
        tmp_path / "bomb.tar.gz",
        (tarfile.TarInfo("r1/spec.json"), b"{}"),
        (tarfile.TarInfo("r1/z"), b"\0" * 10**7),
        mode="w:gz",
    )
    assert source.stat().st_size < 10**5
    assert "more than" in str(refusal(source, here))


def test_a_crowd_of_files_is_refused(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MOST_ENTRIES", 20)
    source = tar(tmp_path / "many.tar", *((tarfile.TarInfo(f"r1/{n}"), b"") for n in range(21)))
    assert "more than 20 files" in str(refusal(source, here))


def test_a_header_that_claims_gigabytes_is_not_read(here: Path, tmp_path: Path) -> None:
    head = tarfile.TarInfo("x")
    head.type, head.size = tarfile.XHDTYPE, 7 * 1024**3
    with gzip.open(tmp_path / "head.tar.gz", "wb") as file:
        file.write(head.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 10**6)
    assert "header" in str(refusal(tmp_path / "head.tar.gz", here))


def test_the_same_name_twice_is_refused(here: Path, tmp_path: Path) -> None:
    twice = [(tarfile.TarInfo("r1/spec.json"), text) for text in (b"{}", b"[]")]
    assert "twice" in str(refusal(tar(tmp_path / "t.tar", *twice), here))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


def noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def nothing(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("kind", ["gztar", "xztar", "zip"])
@pytest.mark.parametrize("harm", [cut, noise, nothing])
def test_a_broken_archive_says_so(far: Path, here: Path, kind: str, harm: Callable[[Path], None]) -> None:
    source = packed(far, kind)
    harm(source)
    assert isinstance(refusal(source, here), UnreadableRunError)


def test_a_flipped_bit_of_a_zip_is_found(far: Path, here: Path) -> None:
    source = packed(far, "zip")
    data = bytearray(source.read_bytes())
    data[data.index(b"engine.log") + 40] ^= 0x55
    source.write_bytes(bytes(data))
    assert isinstance(refusal(source, here), UnreadableRunError)


def test_what_holds_no_run_says_so(here: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    assert "holds no run" in str(refusal(tmp_path / "photos", here))
    assert "there is no archive" in str(refusal(tmp_path / "nowhere.tar", here))


def test_a_run_too_deep_is_not_looked_for(here: Path, tmp_path: Path) -> None:
    seal_run(tmp_path / "far" / "a" / "b" / "c" / "d" / "r1")
    assert "holds no run" in str(refusal(tmp_path / "far", here))


def test_a_renamed_run_is_refused(far: Path, here: Path) -> None:
    (far / "runs" / "r1").rename(far / "runs" / "better-name")
    assert "holds the run r1: it was renamed" in str(refusal(far, here))


def _entry(source: Path, at: int, value: int) -> None:
    """Set two bytes of every header of a zip's list of members."""
    data = bytearray(source.read_bytes())
    place = data.find(b"PK\x01\x02")
    while place >= 0:
        data[place + at : place + at + 2] = value.to_bytes(2, "little")
        place = data.find(b"PK\x01\x02", place + 4)
    source.write_bytes(bytes(data))


@pytest.mark.parametrize(("at", "value"), [(6, 99), (10, 97)], ids=["version", "method"])
def test_a_zip_of_an_unknown_kind_says_so(far: Path, here: Path, at: int, value: int) -> None:
    source = packed(far, "zip")
    _entry(source, at, value)
    assert isinstance(refusal(source, here), UnreadableRunError)


def test_a_zip_whose_packed_data_is_noise_says_so(far: Path, here: Path) -> None:
    source = packed(far, "zip")
    with zipfile.ZipFile(source) as archive:
        info = next(one for one in archive.infolist() if one.filename.endswith("engine.log"))
    data = bytearray(source.read_bytes())
    start = info.header_offset + 30 + len(info.filename)
    data[start : start + 4] = b"\xff" * 4
    source.write_bytes(bytes(data))
    assert isinstance(refusal(source, here), UnreadableRunError)
