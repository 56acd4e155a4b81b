from __future__ import annotations

import pytest

from labctl.report import text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\x1b[31mred\x1b[0m", "ared"),
        ("\x1b]0;title\x07x\x1b]8;;http://evil\x1b\\y", "xy"),
        ("\x9b2Jz\x90", "z"),
        ("nul\0bell\x07del\x7f", "nulbelldel"),
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("abc\u202egpj.exe", "abc⟨U+202E⟩gpj.exe"),
        ("a\u2066b\u200bc\ufeff", "a⟨U+2066⟩b⟨U+200B⟩c⟨U+FEFF⟩"),
        ("lone \ud800", "lone \ufffd"),
        ("请解释 👩\u200d🔬", "请解释 👩\u200d🔬"),
        ("\x1b", ""),
    ],
)
def test_clean_removes_control_codes_and_shows_hidden_signs(raw: str, shown: object) -> None:
    assert text.clean(raw) == shown


def test_clean_cuts_with_a_note_once() -> None:
    cut = text.clean("x" * 9000)
    assert cut.startswith("x" * 4000)
    assert cut.endswith("… [cut: 9,000 characters in all]")
    assert text.clean(cut, text.WHOLE) == cut
    assert len(text.clean("\x1b[0m" * 50_000)) < 100


def test_line_is_one_line() -> None:
    assert text.line("a\n b\tc") == "a b c"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "yes"),
        (float("nan"), "—"),
        (["a", 2, 0.5], "a, 2, 0.5"),
        ([None], "[null]"),
        ({"a": [1]}, '{"a": [1]}'),
        ({1, 2} - {1, 2}, '"set()"'),
    ],
)
def test_plain_is_total(value: object, shown: object) -> None:
    assert text.plain(value) == shown


def test_deep_nesting_is_no_error() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert text.clean(deep) == "[cannot be shown]"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a|b", "a\\|b"),
        ("`x` *y* _z_", "\\`x\\` \\*y\\* \\_z\\_"),
        ("<b>&</b>", "&lt;b&gt;&amp;&lt;/b&gt;"),
        ("[t](http://e)", "\\[t\\](http&#58;//e)"),
        ("www.evil.com MAILTO:a@b", "www&#46;evil.com MAILTO&#58;a&#64;b"),
        ("two\nlines", "two lines"),
        ("\\|", "\\\\\\|"),
        ("events.jsonl:12", "events.jsonl:12"),
    ],
)
def test_markdown_is_inert(raw: str, shown: object) -> None:
    assert text.markdown(raw) == shown


def test_a_fence_is_longer_than_any_inside() -> None:
    block = text.fenced("a\n````\n# not a heading")
    assert block == "`````text\na\n````\n# not a heading\n`````"
