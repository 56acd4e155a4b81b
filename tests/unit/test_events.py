from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labctl.runner import clock, events
from labctl.runner.redact import MASK, Redactor

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "since", lambda _zero: 1.5)


def test_every_sign_survives(tmp_path: Path) -> None:
    text = "one\u2028two\u2029three\x85four\nfive 请"
    with events.Events(tmp_path, 0.0) as told:
        told.emit("error", message=text)
    [row] = events.read(tmp_path)
    assert (row["message"], row["line"], row["t"]) == (text, 1, 1.5)


def test_secrets_are_masked_and_the_line_stays_json(tmp_path: Path) -> None:
    redact = Redactor({"MY_TOKEN": "very-secret-value", "A_PASSWORD": "generate"})
    nested = {"x_api_key": "abcdefgh1", "plain": ["very-secret-value", 4096], "max_num_batched_tokens": 4096}
    with events.Events(tmp_path, 0.0, redact) as told:
        told.emit("engine", requested=nested, message='{"api_key": "topsecret1234"}')
        told.emit("begin", phase="generate")
    engine, begin = events.read(tmp_path)
    assert engine["requested"] == {"x_api_key": MASK, "plain": [MASK, 4096], "max_num_batched_tokens": 4096}
    assert "topsecret1234" not in engine["message"]
    assert begin["phase"] == "generate", "the program's own words are no secrets"


def test_the_phase_that_failed_stays_open(tmp_path: Path) -> None:
    with (
        events.Events(tmp_path, 0.0) as told,
        pytest.raises(ZeroDivisionError),
        told.during("import"),
        told.during("inner"),
    ):
        _ = 1 / 0
    assert events.open_phase(events.read(tmp_path)) == "inner"
    assert told.phase == "inner"


def test_torn_and_hostile_lines_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("[" * 100_000 + '\n{"t": 1, "event": "done"}\n{"t": 2, "eve')
    assert [row["line"] for row in events.read(tmp_path)] == [2]
