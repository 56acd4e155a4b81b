"""Reading raw files, HTTP messages as they went over the wire, lives of requests."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from labctl.report import lives, raw, wire

if TYPE_CHECKING:
    from pathlib import Path


def test_rows_carry_their_line_and_broken_ones_are_counted(tmp_path: Path) -> None:
    notes: list[str] = []
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n\n[2]\nnot json\n{"a": "\u2028"}\n', encoding="utf-8")
    rows = raw.Raw(tmp_path, notes).rows("x.jsonl")
    assert rows == [{"a": 1, "line": 1}, {"a": "\u2028", "line": 5}]
    assert notes == ["x.jsonl has 2 lines that could not be read."]


def test_a_file_is_read_up_to_its_cap(tmp_path: Path) -> None:
    notes: list[str] = []
    (tmp_path / "x").write_bytes(b"abcdef")
    assert raw.Raw(tmp_path, notes).data("x", cap=4) == b"abcd"
    assert len(notes) == 1


@pytest.mark.parametrize("name", ["../secret", "inner/link", "link", "folder", "none"])
def test_what_is_no_plain_file_of_the_run_is_not_read(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    (run / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "link").write_text("x")
    (run / "link").symlink_to(tmp_path / "secret")
    (run / "inner").symlink_to(tmp_path / "outside")
    assert raw.Raw(run, []).text(name) is None


def test_names_of_a_folder_match_wholly_and_in_order(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    for name in ("serve-02.json", "serve-01.json", "serve-1.json.part", "evil<b>.json"):
        (tmp_path / "bench" / name).touch()
    found = raw.Raw(tmp_path, []).names("bench", re.compile(r"serve-\d+\.json"))
    assert found == ["bench/serve-01.json", "bench/serve-02.json"]


def test_a_message_is_shown_with_its_json_indented_and_says_what_was_asked() -> None:
    body = json.dumps({"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "Hello!"}]})
    read = wire.message(f"POST /v1 HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{body}".encode())
    assert read.head == "POST /v1 HTTP/1.1\nContent-Type: application/json"
    assert '\n  "messages": [' in read.body
    assert read.asked == "Hello!"
    assert wire.message(b'P / H\r\n\r\n{"prompt": "San Francisco is a"}').asked == "San Francisco is a"
    assert wire.message(b"P / H\n\nno json").text == "P / H\n\nno json"


def test_chunks_are_joined_and_a_torn_one_is_shown_as_it_is() -> None:
    whole = b"5\r\nhello\r\n6;x=1\r\n world\r\n0\r\n\r\n"
    assert wire.dechunked(whole) == b"hello world"
    assert wire.dechunked(b"5\r\nhel") == b"hel"
    assert wire.dechunked(b"5\r\nhello\r\nzz\r\nrest") == b"hello\r\nzz\r\nrest"
    assert wire.dechunked(b"no chunk") == b"no chunk"


def test_a_long_stream_is_shown_by_its_ends() -> None:
    body = "".join(f"data: {n}\n\n" for n in range(100))
    shown = wire.message(f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{body}".encode()).body
    assert "data: 5\n" in shown
    assert "data: 94" in shown
    assert "data: 50" not in shown
    assert "88 more events" in shown


def test_a_life_is_kept_in_order_and_what_cannot_be_is_left_out() -> None:
    rows = [
        {"way": "static", "request": 1, "planned_s": 1.0, "sent_s": 0.5, "first_s": 0.2, "done_s": 3.0, "error": "x"},
        {"way": "static", "request": 0, "planned_s": 0.5, "sent_s": 2.0, "first_s": 2.5, "done_s": 2.2, "error": None},
        {"way": "static", "request": True, "planned_s": 0.0},
        {"way": "static", "request": 2, "planned_s": float("nan")},
        {"way": "alone", "request": 3, "planned_s": 0.0},
    ]
    first, second = lives.lives(rows, "static")
    assert first == lives.Life(0, 0.5, 2.0, 2.5, None, failed=False)
    assert second == lives.Life(1, 1.0, 1.0, None, 3.0, failed=True)
