"""A bundle that is sent: only what is lacking, and nothing that was altered here or there stays so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labctl.bundle import send as sending
from labctl.errors import TransferError
from labctl.inventory import Host
from labctl.sessions.local import LocalSession
from tests.unit.test_bundle_parts import ABOUT, FILES, made, tree
from tests.unit.test_check_bundle import ALL, CHECK, joined

if TYPE_CHECKING:
    from _pytest.monkeypatch import MonkeyPatch


class Line(LocalSession):
    """Stands for a host elsewhere: its lab directory is a folder here. Counts what is put, breaks where told."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.puts: list[str] = []
        self.left = 1000

    def put(self, data: bytes, target: str, *, mode: int = 0o640) -> None:
        if not self.left:
            raise TransferError("the line was cut")
        self.left -= 1
        super().put(data, target, mode=mode)
        self.puts.append(target.rpartition("/")[2])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made(tmp_path / "b", 1000, ALL).finish(ABOUT, {"check_bundle.py": b"#", "install-controller.sh": b"#"})
    return tmp_path / "b"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "far").mkdir()
    return Host(name="far", connection="ssh", lab_dir=str(tmp_path / "far" / "a lab"), address="far")


def test_a_host_gets_what_it_needs_and_not_labctl_itself(folder: Path, host: Host) -> None:
    place = sending.send(Line(host), host, folder)
    assert place == f"{host.lab_dir}/bundle"
    CHECK.main([place])
    assert joined(Path(place)) == FILES


def test_a_second_time_sends_nothing(folder: Path, host: Host) -> None:
    CHECK.main([sending.send(Line(host), host, folder)])
    again = Line(host)
    sending.send(again, host, folder)
    assert again.puts == []


def test_a_cut_line_costs_what_had_not_come(folder: Path, host: Host) -> None:
    cut = Line(host)
    cut.left = 3
    with pytest.raises(TransferError, match="cut"):
        sending.send(cut, host, folder)
    line = Line(host)
    place = sending.send(line, host, folder)
    assert not set(line.puts) & set(cut.puts)
    CHECK.main([place])


def test_large_files_go_in_pieces_that_stay(folder: Path, host: Host, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_PIECE", 300)
    cut = Line(host)
    cut.left = 5
    with pytest.raises(TransferError, match="cut"):
        sending.send(cut, host, folder)
    assert any(name.isdecimal() for name in cut.puts)
    line, whole = Line(host), Line(replace(host, lab_dir=f"{host.lab_dir}2"))
    place = sending.send(line, host, folder)
    sending.send(whole, whole.host, folder)
    assert len(cut.puts) + len(line.puts) == len(whole.puts)
    assert not (Path(place) / ".pieces").exists()
    CHECK.main([place])
    assert joined(Path(place)) == FILES


def test_what_was_altered_there_is_named_and_then_sent_again(folder: Path, host: Host) -> None:
    place = Path(sending.send(Line(host), host, folder))
    CHECK.main([str(place)])
    part = next(place.glob("part-*/b.whl.002"))
    part.write_bytes(b"B" * part.stat().st_size)
    with pytest.raises(SystemExit, match=r"b\.whl\.002 was altered"):
        CHECK.main([str(place)])
    line = Line(host)
    sending.send(line, host, folder)
    assert line.puts == ["b.whl.002", "SHA256SUMS"]
    CHECK.main([str(place)])
    assert joined(place) == FILES


def test_what_was_altered_here_is_refused_by_name(folder: Path, host: Host) -> None:
    part = next(folder.glob("part-*/b.whl.002"))
    part.write_bytes(b"B" * part.stat().st_size)
    with pytest.raises(TransferError, match=r"b\.whl\.002 is missing or was altered"):
        sending.send(Line(host), host, folder)


def test_another_bundle_takes_the_place_of_the_first(folder: Path, host: Host, tmp_path: Path) -> None:
    place = Path(sending.send(Line(host), host, folder))
    CHECK.main([str(place)])
    other = {"wheels/a.whl": FILES["wheels/a.whl"], "wheels/c.whl": b"c"}
    made(tmp_path / "c", 1000, other).finish(ABOUT, {})
    line = Line(host)
    sending.send(line, host, tmp_path / "c")
    assert "a.whl" not in line.puts
    CHECK.main([str(place)])
    assert joined(place) == other
    assert not [name for name in tree(place) if "b.whl" in name]


def test_a_local_host_uses_it_where_it_lies(folder: Path) -> None:
    here = Host(name="local", connection="local", lab_dir="/nowhere", address="localhost")
    line = Line(here)
    assert sending.send(line, here, folder) == str(folder.resolve())
    assert line.puts == []


def test_an_interrupted_bundle_is_not_sent(folder: Path, host: Host) -> None:
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(TransferError, match="interrupted"):
        sending.send(Line(host), host, folder)


@pytest.mark.parametrize("said", ["/x{{ lookup('pipe', 'id') }}", "/x\n/y", "/x;id", "x"])
def test_a_host_that_names_no_plain_folder_is_refused(folder: Path, host: Host, said: str) -> None:
    class Liar(Line):
        def read(self, source: str, *, limit: int = 4096) -> bytes | None:
            return said.encode() if source.endswith("/.where") else super().read(source, limit=limit)

    with pytest.raises(TransferError, match="far: "):
        sending.send(Liar(host), host, folder)
