"""Text of a host made fit for a page: cleaned, cut, escaped. Pure, and total over any JSON value."""

from __future__ import annotations

import json
import re

from labctl.report.amounts import number

DASH = "—"  # what stands where a value is unknown
LIMIT = 4000  # characters of one text, unless told otherwise
ITEMS = 50  # shown of a list
WHOLE = 400_000  # for what was cut to its own limit before

# Terminal sequences: CSI, OSC and the other string commands with their end, then two-byte escapes.
_TERMINAL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[PX^_][^\x1b]*\x1b\\|\x1b[ -/]*[0-Z\\^-~]"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# Direction overrides, zero-width signs and tag characters: what could make a text read as another one.
_HIDDEN = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINES = re.compile("\r\n|[\r\u2028\u2029\x85]")
_MARKDOWN = re.compile(r"([\\`*_\[\]|~$#])")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"})
_LINK = re.compile(r"(?i)(https?|ftp|mailto|xmpp):|(www)\.")  # what becomes a link without any markup


def clean(value: object, limit: int = LIMIT) -> str:
    """Any value as text without control codes, hidden signs made visible, cut with a note after ``limit``."""
    text = value if isinstance(value, str) else plain(value)
    total = len(text)
    raw = text[: 4 * limit]
    raw = _LINES.sub("\n", _TERMINAL.sub("", raw))
    raw = _SURROGATE.sub("\ufffd", _CONTROL.sub("", raw))
    raw = _HIDDEN.sub(lambda hit: f"⟨U+{ord(hit[0]):04X}⟩", raw)
    if len(raw) <= limit and total <= 4 * limit:
        return raw
    return f"{raw[:limit]} … [cut: {total:,} characters in all]"


def line(value: object, limit: int = 200) -> str:
    """``clean`` on one line: line breaks and tabs become blanks."""
    return " ".join(clean(value, limit).split())


def plain(value: object) -> str:
    """Any JSON value as text: nothing for null, numbers formatted, plain lists joined, else JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return number(value) or DASH
    if isinstance(value, list) and all(isinstance(item, (str, int, float)) for item in value):
        return ", ".join(plain(item) for item in value[:ITEMS]) + (", …" if len(value) > ITEMS else "")
    return as_json(value)


def as_json(value: object) -> str:
    """JSON text of any value (``true``, ``0.9``, ``null``), or a word in its place where there is none."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return "[cannot be shown]"


def markdown(value: object) -> str:
    """One line of text that Markdown shows as it is: no markup, no table break, no HTML, no link."""
    text = _MARKDOWN.sub(r"\\\1", line(value, WHOLE)).translate(_ENTITIES)
    return _LINK.sub(lambda hit: f"{hit[1]}&#58;" if hit[1] else f"{hit[2]}&#46;", text)


def fenced(value: object) -> str:
    """Text as a Markdown code block whose fence is longer than any run of backticks in it."""
    text = clean(value, WHOLE)
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{ticks}text\n{text}\n{ticks}"
