"""The places in a README that are made, and what must not stand anywhere else in it: a measured figure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labctl.doctor import lab, machine
from labctl.doctor.verdict import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BLOCK = re.compile(r"(<!-- figures: ([a-z0-9-]+) \(made by make readme\) -->)(.*?)(<!-- end -->)", re.DOTALL)
# A number with a unit that things are measured in.
MEASURED = re.compile(
    r"\d[\d,.]*(?:\*\*)?(?:\s|&nbsp;|-){0,3}(?:(?:(?:tok|tokens?)(?:/s|/秒| per second)|[mµn]?s|secs?|seconds?|mins?"
    r"|minutes?|h|hours?|[KMGT]i?B(?:/s)?|x|times|percent|W|[MG]Hz|[KMGTP]?FLOPS?(?:/s)?|°C)(?![A-Za-z])"
    r"|[%％×]|token/秒|秒|毫秒|分钟|小时|倍)"
)
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
# What `labctl doctor` asks for is a limit, not a measured figure; the README has to say the same.
LIMITS = {f"{lab._ROOM['cpu']} GiB", f"{machine._MEMORY_NEEDED // GIB} GiB"}


def filled(text: str, texts: Mapping[str, str]) -> str:
    """The README with each of ``texts`` (name -> Markdown) between its markers; blocks of other names stay."""
    return BLOCK.sub(lambda hit: f"{hit[1]}\n\n{texts[hit[2]]}\n\n{hit[4]}" if hit[2] in texts else hit[0], text)


def problems(text: str, names: Sequence[str]) -> Iterator[str]:
    """A sentence for each figure that stands nowhere or twice, is made by nobody, or was typed by hand."""
    found = [hit[2] for hit in BLOCK.finditer(text)]
    for name in names:
        if (times := found.count(name)) != 1:
            yield f"the markers of the figures {name} stand there {times} times, not once"
    for name in sorted(set(found) - set(names)):
        yield f"nothing makes the figures {name}"
    for line, typed in by_hand(text):
        yield f"line {line}: {typed!r} is typed by hand; it has to come from a golden run"


def by_hand(text: str) -> Iterator[tuple[int, str]]:
    """1-based line and text of each measured figure outside the made places and code."""
    rest = text
    for made in (BLOCK, CODE):
        rest = made.sub(lambda hit: "\n" * hit[0].count("\n"), rest)
    for number, line in enumerate(rest.split("\n"), 1):
        for hit in MEASURED.finditer(line):
            if hit[0] not in LIMITS:
                yield number, hit[0]
