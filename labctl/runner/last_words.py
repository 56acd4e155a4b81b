"""What a program said before it died: the line of the engine log that tells most."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from labctl.runner import logpatterns, rundir

if TYPE_CHECKING:
    from pathlib import Path

_READ = 256 * 1024
_LONGEST = 600
# The supervisor stamps lines as they arrive; the last ones of a dead process may still be in its pipe.
_ARRIVING = 0.6
_STAMP = re.compile(r"\s*\d+\.\d+ ")
# An exception's last line ("ValueError: ..."), or what argparse says before it exits ("vllm: error: ...").
_TELLING = re.compile(r"(?:[A-Za-z_][\w.]*(?:Error|Exception|Interrupt)\b|(?:[\w. -]+: )?error: )")
# A process that was killed says nothing: another one tells that it is gone (vllm/v1/engine/core_client.py, 0.32.0).
_GONE = re.compile(r"(?:exited|died) unexpectedly")
_PYDANTIC = re.compile(r"\d+ validation errors? for \w+$")
# vLLM's own words about another process's death: the cause stands before them.
_ECHO = ("See root cause above", "Engine core initialization failed", "EngineDeadError", "aiohttp.client_exceptions")


class LastWords:
    """Of one process whose output goes to the engine log: what was written since this object was made."""

    def __init__(self, run_dir: Path) -> None:
        """Remember where the log ends now."""
        self._path = run_dir / rundir.ENGINE_LOG
        self._since = self._path.stat().st_size if self._path.is_file() else 0

    def told(self) -> str:
        """``: LINE`` to be put behind a sentence, or nothing where it said nothing."""
        time.sleep(_ARRIVING)
        line = self.line()
        return f": {line}" if line else ""

    def line(self) -> str:
        """The line of the log, as far as it is written, that tells most; "" where it says nothing."""
        return choose(self._lines())

    def _lines(self) -> list[str]:
        if not self._path.is_file():
            return []
        with self._path.open("rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(self._since, size - _READ))
            text = handle.read().decode("utf-8", errors="replace")
        return text.split("\n")


def choose(lines: list[str]) -> str:
    """The last line that names an error and is no echo of one; else one that tells of a death; else the last."""
    said = [(place, text) for place, line in enumerate(lines) if (text := _plain(line))]
    telling = [one for one in said if _TELLING.match(one[1])]
    first_hand = [one for one in telling if not any(echo in one[1] for echo in _ECHO)]
    gone = [one for one in said if _GONE.search(one[1])]
    chosen = first_hand or gone or telling or said
    if not chosen:
        return ""
    place, text = chosen[-1]
    if _PYDANTIC.search(text) and place + 1 < len(lines):
        # It says what was wrong in the lines after it, and which value, at length, behind that.
        text = f"{text}: {_plain(lines[place + 1]).partition(' [type=')[0]}"
    return text[:_LONGEST]


def _plain(line: str) -> str:
    """A line of the log without stamp, process and place."""
    stamp = _STAMP.match(line)
    text = logpatterns.ANSI.sub("", line[stamp.end() :] if stamp else line).strip()
    for lead in (logpatterns.PROCESS, logpatterns.PREFIX):
        found = lead.match(text)
        text = text[found.end() :] if found else text
    return text.strip()
