"""A run brought home: what is right arrives whole, and a host that lies gets nowhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from labctl import fates, host_runs, runs, seals, transfer
from labctl.errors import TransferError, UnreachableError, UnreadableRunError
from labctl.runner import record, rundir, spec
from labctl.sessions import Entry, Want
from labctl.sessions.local import LocalSession
from tests.unit.sealed_run import ASKED, HERE, session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

GIB = 1024**3
DEEP = '{"a":' * 900 + "1" + "}" * 900


class Liar(LocalSession):
    """Lists what it likes, and sends for each file as much as it was asked for."""

    def __init__(self, **files: int) -> None:
        super().__init__(HERE)
        self.listed = [Entry(name.replace("__", "/"), size, regular=True) for name, size in files.items()]
        self.asked: list[Want] = []
        self.sends: dict[str, bytes] = {}

    def walk(self, folder: str) -> list[Entry] | None:
        del folder
        return self.listed

    def bring(
        self, folder: str, wanted: Sequence[Want], into: Callable[[str], AbstractContextManager[BinaryIO]]
    ) -> set[str]:
        del folder
        self.asked += wanted
        for want in wanted:
            with into(want.name) as writer:
                writer.write(self.sends.get(want.name, b"#" * min(want.limit, 10))[: want.limit])
        return {want.name for want in wanted}


def outside(path: Path) -> set[str]:
    """What lies around the run directory."""
    return {place.relative_to(path.parent).as_posix() for place in path.parent.rglob("*")} - {
        place.relative_to(path.parent).as_posix() for place in path.rglob("*")
    }


def test_fetch_brings_everything_and_checks_it(host_dir: Path, path: Path) -> None:
    transfer.fetch(session(), str(host_dir), path)
    assert seals.check_sums(path) == []
    assert runs.load(path).host == "local"
    assert (path / rundir.ENGINE_LOG).read_bytes() == (host_dir / rundir.ENGINE_LOG).read_bytes()


def test_a_broken_fetch_resumes(host_dir: Path, path: Path) -> None:
    (path / "logs").mkdir()
    (path / rundir.ENGINE_LOG).write_bytes((host_dir / rundir.ENGINE_LOG).read_bytes()[:37])
    transfer.fetch(session(), str(host_dir), path)
    assert seals.check_sums(path) == []


def test_what_arrived_wrong_is_fetched_again(host_dir: Path, path: Path) -> None:
    good = (host_dir / rundir.ENGINE_LOG).read_bytes()
    (path / "logs").mkdir()
    (path / rundir.ENGINE_LOG).write_bytes(b"#" * len(good))
    transfer.fetch(session(), str(host_dir), path)
    assert (path / rundir.ENGINE_LOG).read_bytes() == good


def test_a_host_that_seals_one_thing_and_sends_another(host_dir: Path, path: Path) -> None:
    (host_dir / rundir.ENGINE_LOG).write_text("altered after the seal")
    with pytest.raises(TransferError, match=r"engine\.log is not what was sealed"):
        transfer.fetch(session(), str(host_dir), path)


def test_a_file_that_the_manifest_lacks(host_dir: Path, path: Path) -> None:
    (host_dir / "extra.txt").write_text("x")
    with pytest.raises(TransferError, match=r"extra\.txt is not in the manifest"):
        transfer.fetch(session(), str(host_dir), path)


def test_a_run_that_is_not_sealed(host_dir: Path, path: Path) -> None:
    (host_dir / rundir.SUMS).unlink()
    with pytest.raises(TransferError, match="not sealed yet"):
        transfer.fetch(session(), str(host_dir), path)
    assert (path / rundir.ENGINE_LOG).is_file()


def test_links_are_refused(host_dir: Path, path: Path) -> None:
    (host_dir / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(TransferError, match="no plain file"):
        transfer.fetch(session(), str(host_dir), path)
    assert not (path / "passwd").exists()


def test_a_sparse_giant_is_refused(host_dir: Path, path: Path) -> None:
    with (host_dir / "big").open("wb") as handle:
        handle.truncate(10 * 1024**3)
    with pytest.raises(TransferError, match="fetches up to"):
        transfer.mirror(session(), str(host_dir), path)
    assert not (path / "big").exists()


def test_nothing_is_written_through_a_link(host_dir: Path, path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (path / rundir.RECORD).symlink_to(victim)
    with pytest.raises(TransferError, match="is a link"):
        transfer.mirror(session(), str(host_dir), path)
    assert victim.read_text() == "precious"


def test_ones_own_note_in_a_run_does_not_spoil_a_fetch(host_dir: Path, path: Path) -> None:
    (path / "my-notes.txt").write_text("mine")
    transfer.fetch(session(), str(host_dir), path)
    assert seals.check_sums(path) == ["my-notes.txt is not in the manifest"]


def test_a_folder_of_the_laptops_own_is_never_written_by_the_host(host_dir: Path, path: Path) -> None:
    (host_dir / "local").mkdir()
    (host_dir / "local" / "origin.json").write_text('{"host": "evil"}')
    with pytest.raises(TransferError, match="unsafe path"):
        transfer.mirror(session(), str(host_dir), path)
    assert runs.origin(path)["host"] == "local"


def test_a_run_the_host_does_not_have(tmp_path: Path, path: Path) -> None:
    with pytest.raises(TransferError, match="no run directory"):
        transfer.mirror(session(), str(tmp_path / "gone"), path)


UNSAFE = [
    "../x",
    "/etc/x",
    "a/../../x",
    "a//b",
    "./a",
    "",
    "a\\b",
    "a\nb",
    "a\x1b[2Jb",
    "a\u202eb",
    "caf\udce9",
    "local/origin.json",
    "report/report.html",
    "LOCAL/origin.json",
    "Report/x",
    "n" * 256,
    "a/" * 1500 + "a",
]


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_path_is_listed(path: Path, name: str) -> None:
    host = Liar()
    host.listed = [Entry("logs/engine.log", 5, regular=True), Entry(name, 1, regular=True)]
    with pytest.raises(TransferError, match="unsafe path"):
        transfer.mirror(host, "/x", path)
    assert host.asked == []
    assert outside(path) == {"r1"}


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_path_is_sealed(host_dir: Path, path: Path, name: str) -> None:
    with (host_dir / rundir.SUMS).open("ab") as sums:
        sums.write(f"{'0' * 64}  {name}\n".encode(errors="surrogateescape"))
    with pytest.raises(UnreadableRunError):
        transfer.fetch(session(), str(host_dir), path)
    assert outside(path) == {"r1"}


def test_a_manifest_that_names_a_file_twice(host_dir: Path, path: Path) -> None:
    sums = (host_dir / rundir.SUMS).read_text()
    (host_dir / rundir.SUMS).write_text(sums + sums)
    with pytest.raises(UnreadableRunError, match="not a plain"):
        transfer.fetch(session(), str(host_dir), path)


def test_a_manifest_that_hides_the_record(host_dir: Path, path: Path) -> None:
    kept = [line for line in (host_dir / rundir.SUMS).read_text().splitlines() if rundir.RECORD not in line]
    (host_dir / rundir.SUMS).write_text("\n".join(kept) + "\n")
    with pytest.raises(TransferError, match=r"record\.json is not in the manifest"):
        transfer.fetch(session(), str(host_dir), path)


def test_a_file_that_is_a_folder_as_well(path: Path) -> None:
    with pytest.raises(TransferError, match="unsafe path 'logs'"):
        transfer.mirror(Liar(logs__engine=5, logs=5), "/x", path)


def test_a_file_that_was_a_folder_before(path: Path) -> None:
    transfer.mirror(Liar(SHA256SUMS__x=5), "/x", path)
    with pytest.raises(TransferError, match="cannot write"):
        transfer.mirror(Liar(SHA256SUMS=5), "/x", path)


def test_a_record_that_was_replaced_while_it_was_read(host_dir: Path, path: Path) -> None:
    """Half of the old and half of the new: what is here stays until the next look."""
    transfer.mirror(session(), str(host_dir), path)
    before = (path / rundir.RECORD).read_bytes()
    transfer.mirror(Liar(**{"record.json": 5}), "/x", path)
    assert (path / rundir.RECORD).read_bytes() == before


@pytest.mark.parametrize(
    "sizes",
    [
        {"a": 10 * GIB},
        {"a": 10 * GIB, "b": -10 * GIB},
        {"a": -1},
        {"a": 10**400},
        {"a": GIB, "b": GIB, "c": 1},
        {str(number): 1 for number in range(2001)},
        {"record.json": GIB},
        {"SHA256SUMS": GIB},
        {"events.jsonl": GIB},
        {"requests.jsonl": GIB},
        {"machine__system.json": GIB},
    ],
)
def test_too_much_is_refused_before_a_byte_is_asked_for(path: Path, sizes: dict[str, int]) -> None:
    host = Liar(**sizes)
    with pytest.raises(TransferError, match="fetches up to"):
        transfer.mirror(host, "/x", path)
    assert host.asked == []


def test_no_more_is_asked_for_than_was_listed(path: Path) -> None:
    host = Liar(**{"a": 7, "record.json": 5, "SHA256SUMS": 5, "logs__engine.log": 3})
    digest = "0" * 64
    host.sends = {"SHA256SUMS": f"{digest}  a\n{digest}  logs/engine.log\n".encode(), "spec.json": b"{}"}
    with pytest.raises(TransferError, match="not what was sealed"):
        transfer.fetch(host, "/x", path)
    limits = {name: {want.limit for want in host.asked if want.name == name} for name in ("a", "logs/engine.log")}
    # The second time as well, when what arrived wrong is asked for once more.
    assert limits == {"a": {7}, "logs/engine.log": {3}}
    assert {want.limit for want in host.asked} <= {3, 7, 16 * 1024**2}


def test_a_host_that_lists_other_files_each_time_fills_no_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MAX_BYTES", 100)
    monkeypatch.setattr(transfer, "MAX_FILES", 12)
    (path / rundir.SPEC).unlink()
    for turn in range(10):
        transfer.mirror(Liar(**{f"turn{turn}": 10}), "/x", path)
    with pytest.raises(TransferError, match="11 files of 110 bytes"):
        transfer.mirror(Liar(one_more=10), "/x", path)
    with pytest.raises(TransferError, match="13 files"):
        transfer.mirror(Liar(x=0, y=0, z=0), "/x", path)


def test_a_manifest_of_too_many_names_is_not_looked_at(host_dir: Path, path: Path) -> None:
    with (host_dir / rundir.SUMS).open("a") as sums:
        sums.writelines(f"{'0' * 64}  n{number}\n" for number in range(2001))
    with pytest.raises(TransferError, match="more files than the 2000"):
        transfer.fetch(session(), str(host_dir), path)


def test_the_manifest_is_not_read_anew_for_each_file(
    host_dir: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        (host_dir / f"m{number}").touch()
    read, true = [], seals.manifest
    monkeypatch.setattr(transfer, "manifest", lambda place: read.append(place) or true(place))  # type: ignore[func-returns-value]
    with pytest.raises(TransferError, match="not in the manifest"):
        transfer.fetch(session(), str(host_dir), path)
    assert len(read) < 5


@pytest.mark.parametrize(
    "there",
    [
        ASKED.to_json().replace('"m"', '"another"'),
        ASKED.to_json().replace('"seed": 0', '"seed": 1'),
        "{}",
        "[" * 50_000,
        ASKED.to_json().replace('"engine": {}', f'"engine": {DEEP}'),
        "\x00",
    ],
)
def test_a_spec_that_the_host_changed_is_noticed_and_ours_stays(host_dir: Path, path: Path, there: str) -> None:
    (host_dir / rundir.SPEC).write_text(there)
    rundir.seal(host_dir)
    with pytest.raises(TransferError, match="not what was asked"):
        transfer.fetch(session(), str(host_dir), path)
    assert (path / rundir.SPEC).read_text() == ASKED.to_json()


def test_a_spec_written_another_way_is_the_same_spec(host_dir: Path, path: Path) -> None:
    (host_dir / rundir.SPEC).write_text(json.dumps(json.loads(ASKED.to_json())))
    rundir.seal(host_dir)
    transfer.fetch(session(), str(host_dir), path)
    assert seals.check_sums(path) == []


def test_a_spec_nested_too_deep_makes_no_run(tmp_path: Path) -> None:
    asked = spec.from_json(ASKED.to_json().replace('"engine": {}', f'"engine": {DEEP}'))
    with pytest.raises(TransferError, match="nested deeper"):
        runs.create(tmp_path, "r2", "gpu1", "/x", asked)


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "splendid"},
        {"metrics": []},
        {"nodes": [1]},
        {"phases": {}},
        {"error": "x"},
        {"surprise": 1},
        {"supervisor": json.loads(DEEP)},
    ],
)
def test_a_record_of_another_shape_is_unreadable(host_dir: Path, wrong: dict[str, Any]) -> None:
    told = json.loads((host_dir / rundir.RECORD).read_text())
    # json.dumps(indent=None) is not stopped by the depth.
    (host_dir / rundir.RECORD).write_text(json.dumps({**told, **wrong}))
    with pytest.raises(UnreadableRunError):
        runs.load(host_dir)


@pytest.mark.parametrize("value", [json.loads(DEEP), "\x1b]52;c;eA==\x07", [1], {}, True, None])
def test_a_row_holds_plain_values_whatever_a_record_holds(value: object) -> None:
    told = {"status": "ok", "metrics": {"throughput": {"value": value}}, "error": {"message": value}}
    row = runs.row_of(json.dumps(told))
    assert row["throughput"] is None
    assert isinstance(row["note"], str)
    unknown = runs.row_of(json.dumps({"status": value}))
    assert unknown["status"] == "unreadable"
    assert len(runs.row_of(json.dumps({"status": "failed", "error": {"message": "x" * 10**6}}))["note"]) <= 500


class Names(Liar):
    """A host with many runs, all of which say that they go on."""

    def names(self, folder: str) -> list[str] | None:
        del folder
        return ["../../etc", "-rf", ".hidden", "a b", "a\x1b[2J", "", *(f"r{number:05}" for number in range(10_000))]

    def bring(
        self, folder: str, wanted: Sequence[Want], into: Callable[[str], AbstractContextManager[BinaryIO]]
    ) -> set[str]:
        self.sends = {want.name: b'{"status": "running"}' for want in wanted}
        return super().bring(folder, wanted, into)


class Hanging:
    """A launcher whose host never answers."""

    asked = 0

    def control(self, run_id: str, verb: str) -> None:
        del run_id, verb
        self.asked += 1
        raise UnreachableError("no answer in 120 s")


def test_the_runs_of_a_host_are_its_newest_with_plain_names() -> None:
    host, start = Names(), Hanging()
    rows = host_runs.listing(host, start, HERE)  # type: ignore[arg-type]  # it has the one verb that is used
    assert [row["run"] for row in rows] == [f"r{number:05}" for number in range(9_500, 10_000)]
    assert {want.limit for want in host.asked} == {1024**2}
    assert start.asked == 1, "a host that hangs once would hang 500 times"


def test_a_lost_run_of_a_hostile_host_is_read_all_the_same(host_dir: Path) -> None:
    told = record.from_json((host_dir / rundir.RECORD).read_text())
    told.status = "running"
    told.write(host_dir)
    (host_dir / rundir.SUMS).unlink()
    rows = ['{"t": 1, "event": "begin", "phase": ["\\u001b[2J"]}', '{"t": 1e999, "event": "model", "x": 1}', "[" * 9000]
    (host_dir / rundir.EVENTS).write_text("\n".join(rows))
    (host_dir / "local").mkdir()
    fates.mark(host_dir, "lost", "gone")
    assert runs.load(host_dir).record.status == "lost"
