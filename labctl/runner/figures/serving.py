"""API calls to a server: status, latency, time to first token and tokens of each, from api/calls.jsonl."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.runner import rundir
from labctl.runner.figures.figure import Figure, json_lines

if TYPE_CHECKING:
    from pathlib import Path

_OK = 200
# Figure (with the call's number behind it), key of the row, unit.
_OF_A_CALL = (
    ("status", "status", ""), ("latency", "seconds", "s"), ("ttft", "ttft_s", "s"),
    ("output_tokens", "output_tokens", "tokens"),
)  # fmt: skip


def calls(run_dir: Path) -> dict[str, Figure]:
    """Figures of the run's calls by name; nothing for a run without calls.

    ``calls``, ``refused_calls`` (another status than 200), and of call N ``status_callN`` (HTTP), ``latency_callN``
    (s, from sending to the last byte, client included), ``ttft_callN`` (s, streams alone) and ``output_tokens_callN``.
    One call is one measurement, of a server just started: no benchmark.
    """
    rows = [(number, row) for number, row in json_lines(run_dir / rundir.CALLS) if isinstance(row.get("call"), int)]
    if not rows:
        return {}
    refused = [number for number, row in rows if row.get("status") != _OK]
    found = {
        "calls": Figure(value=len(rows), sources=[rundir.CALLS]),
        "refused_calls": Figure(value=len(refused), sources=[f"{rundir.CALLS}:{number}" for number in refused]),
    }
    for number, row in rows:
        found |= _of(number, row)
    return found


def _of(line: int, row: dict[str, Any]) -> dict[str, Figure]:
    said = f"{row.get('name')}" + (f": {row['error']}" if row.get("error") else "")
    return {
        f"{name}_call{row['call']}": Figure(value=value, unit=unit, sources=[f"{rundir.CALLS}:{line}"], note=said[:300])
        for name, key, unit in _OF_A_CALL
        if isinstance(value := row.get(key), (int, float)) and not isinstance(value, bool)
    }
