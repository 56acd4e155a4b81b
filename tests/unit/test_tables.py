from __future__ import annotations

import pytest

from labctl.commands.options import table_lines

ROWS = [{"a": "one", "b": "x" * 20, "c": "y" * 40}, {"a": "two", "b": "", "c": ""}]


@pytest.mark.parametrize("limit", [80, 40, 30])
def test_a_table_that_must_be_read_whole_loses_nothing(limit: int) -> None:
    said = "\n".join(table_lines(ROWS, ["a", "b", "c"], limit, cut=False))
    assert all(text in said for row in ROWS for text in row.values())


def test_what_stands_last_goes_below_where_the_terminal_is_narrow() -> None:
    assert table_lines(ROWS, ["a", "b", "c"], 60, cut=False) == [
        "a    b", "    c", "one  " + "x" * 20, "    " + "y" * 40, "two",
    ]  # fmt: skip


def test_a_terminal_too_narrow_for_any_row_gets_blocks() -> None:
    lines = table_lines(ROWS, ["a", "b", "c"], 20, cut=False)
    assert lines == ["a  one", "b  " + "x" * 20, "c  " + "y" * 40, "", "a  two", ""]


def test_a_table_that_may_be_cut_fits() -> None:
    lines = table_lines(ROWS, ["a", "b", "c"], 20, cut=True)
    assert max(map(len, lines)) == 20
    assert lines[1].endswith("…")


def test_what_stands_below_is_broken_between_its_words() -> None:
    rows = [{"a": "one", "b": "two words and /a/path/that/is/longer/than/the/terminal"}]
    assert table_lines(rows, ["a", "b"], 20, cut=False) == [
        "a", "    b", "one", "    two words and\n    /a/path/that/is/longer/than/the/terminal",
    ]  # fmt: skip
