from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import record, rundir, sealing

if TYPE_CHECKING:
    from pathlib import Path

PLAIN: dict[str, Any] = {
    "run_id": "r",
    "status": "ok",
    "spec_sha256": "0" * 64,
    "anchor": {"utc": "", "monotonic": 1.0},
}


def test_a_record_survives_the_disk(tmp_path: Path) -> None:
    told = record.RunRecord(**PLAIN)
    told.write(tmp_path)
    assert record.from_json((tmp_path / rundir.RECORD).read_text()) == told
    assert [path.name for path in tmp_path.iterdir()] == [rundir.RECORD]


def test_a_newer_schema_is_refused_by_name() -> None:
    data = {**dataclasses.asdict(record.RunRecord(**PLAIN)), "schema": 9}
    with pytest.raises(record.RecordError, match="schema 9"):
        record.from_json(json.dumps(data))


@pytest.mark.parametrize(
    "change",
    [
        {"status": "fine"},
        {"phases": {}},
        {"phases": ["x"]},
        {"metrics": []},
        {"metrics": {"a": 1}},
        {"nodes": [1]},
        {"x": 1},
    ],
)
def test_wrong_shapes_are_refused(change: dict[str, Any]) -> None:
    data = {**dataclasses.asdict(record.RunRecord(**PLAIN)), **change}
    with pytest.raises(record.RecordError):
        record.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}"])
def test_broken_text_is_refused(text: str) -> None:
    with pytest.raises(record.RecordError):
        record.from_json(text)


def deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


def test_half_a_character_costs_no_record(tmp_path: Path) -> None:
    record.RunRecord(**{**PLAIN, "error": {"message": "half \ud800"}}).write(tmp_path)
    found = record.from_json((tmp_path / rundir.RECORD).read_text())
    assert found.error == {"message": "half ?"}


BAD: dict[str, Any] = {"deep": deep(5000), "a number": 10**5000, "an object": object(), "a key": {1j: 1}}


@pytest.mark.parametrize("name", BAD)
def test_what_no_record_can_hold_costs_no_seal(tmp_path: Path, name: str) -> None:
    value = BAD[name]
    assert not record.writable({"a": value})
    bad, good = {"machine": value}, {"machine": {"cpu": 1}}
    told = record.RunRecord(
        **{**PLAIN, "status": "failed"},
        nodes=[good, bad], metrics={"bad": bad, "good": good}, phases=[bad], model=bad, engine=bad, error=bad,
    )  # fmt: skip
    sealing.spare(told)
    sealing.seal(tmp_path, told)
    found = record.from_json((tmp_path / rundir.RECORD).read_text())
    assert (found.nodes, found.metrics, found.phases, found.model, found.engine) == (
        [good],
        {"good": good},
        [],
        None,
        None,
    )
    assert found.error is not None
    assert found.error["message"] == "the run failed, and its error cannot be written"
    assert rundir.RECORD in rundir.manifest((tmp_path / rundir.SUMS).read_text())
