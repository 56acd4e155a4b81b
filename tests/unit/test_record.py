from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import record, rundir

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
