"""Raw files and figures of every kind of run with random values in them: the page and the terminal's lines are made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.report import made_runs
from tests.unit.report.report_page_checks import check
from tests.unit.report.test_report_hostile_kinds import everything

if TYPE_CHECKING:
    import pytest

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything: st.SearchStrategy[Any] = st.recursive(
    plain,
    lambda held: st.lists(held, max_size=3) | st.dictionaries(st.text(max_size=6), held, max_size=3),
    max_leaves=6,
)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_rows_of_random_values_are_no_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    make = data.draw(st.sampled_from(made_runs.KINDS))
    run = make(tmp_path_factory.mktemp("random") / "run")
    for path in sorted(run.rglob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in data.draw(st.lists(st.sampled_from(rows), max_size=4)) if rows else ():
            row[data.draw(st.sampled_from(sorted(row)))] = data.draw(anything)
        path.write_text("\n".join(json.dumps(row) for row in rows))
    told = json.loads((run / "record.json").read_text())
    for name in data.draw(st.lists(st.sampled_from(sorted(told["metrics"])), max_size=5)):
        told["metrics"][name] = {
            "value": data.draw(anything),
            "low": data.draw(anything),
            "sources": data.draw(anything),
        }
    (run / "record.json").write_text(json.dumps(told))
    check(everything(run).read_text(encoding="utf-8"))
