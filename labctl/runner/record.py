"""RunRecord: what happened. ``record.json`` in a run directory, written by the supervisor alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from labctl.runner import rundir

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
STATUSES = ("running", "ok", "failed", "stopped", "lost")


class RecordError(ValueError):
    """A record that cannot be read; the message is one readable sentence."""


@dataclass(slots=True, kw_only=True)
class RunRecord:
    """What happened, as plain data (see README, "The run directory").

    ``anchor``: {"utc": ISO 8601, "monotonic": seconds}: every other time is seconds since it.
    ``supervisor``: {"pid", "start_ticks", "boot_id", "runner_version"}.
    ``phases``: [{"name", "start", "seconds", "source", "reported_s"}], see phases.py.
    ``nodes``: one entry a host: {"name", "machine": probe facts, "packages": {name: version}, "samples": {...}}.
    ``model``: {"requested", "used", "synthetic", "weights", "why"}; ``engine``: {"requested", "adjusted"}.
    ``metrics``: {name: Figure as a dict}, see figures.py.
    ``error``: None or {"kind", "phase", "message", "exit", "log_tail"}.
    ``artifacts``: [{"kind", "path", "size", "sha256"}], all but record.json itself.
    Unknown facts are None, never invented.
    """

    run_id: str
    status: str
    spec_sha256: str
    anchor: dict[str, Any]
    schema: int = SCHEMA
    ended_s: float | None = None
    supervisor: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] | None = None
    engine: dict[str, Any] | None = None
    phases: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    artifacts: list[dict[str, Any]] = field(default_factory=list)

    def write(self, run_dir: Path) -> None:
        """Replace ``record.json`` atomically. Raises OSError (a full disk)."""
        # Not asdict: it copies what is nested by recursion, and so fails earlier than JSON itself does.
        text = _text({item.name: getattr(self, item.name) for item in fields(self)})
        rundir.write_atomic(run_dir / rundir.RECORD, text)


def writable(value: object) -> bool:
    """Whether a record can hold the value: no text holds an endless nesting, a cycle, or a number of 5000 digits."""
    try:
        _text(value)
    except Exception:  # noqa: BLE001 - whatever it is, the record cannot hold it
        return False
    return True


def _text(value: object) -> bytes:
    # Half a character (of the name of a file, say) is no reason to have no record.
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode(errors="replace")


def from_json(text: str) -> RunRecord:
    """Read ``record.json``. Raises RecordError for broken JSON, a newer schema, or a wrong shape."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"record.json is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise RecordError("record.json holds no object")
    schema = data.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise RecordError(f"record.json has schema {schema!r}; this labctl reads up to {SCHEMA}: use a newer labctl")
    try:
        record = RunRecord(**data)
    except TypeError as error:
        raise RecordError(f"record.json has another shape: {error}") from error
    _check(record)
    return record


_SHAPES: dict[str, type | tuple[type, ...]] = {
    "run_id": str, "status": str, "spec_sha256": str, "anchor": dict, "supervisor": dict,
    "model": (dict, type(None)), "engine": (dict, type(None)), "phases": list, "nodes": list,
    "metrics": dict, "error": (dict, type(None)), "artifacts": list,
}  # fmt: skip


def _check(record: RunRecord) -> None:
    for name, kind in _SHAPES.items():
        if not isinstance(getattr(record, name), kind):
            raise RecordError(f"record.json: {name} has the wrong type")
    if record.status not in STATUSES:
        raise RecordError(f"record.json has the unknown status {record.status!r}")
    for name in ("phases", "nodes", "artifacts"):
        if not all(isinstance(item, dict) for item in getattr(record, name)):
            raise RecordError(f"record.json: {name} must hold objects")
    if not all(isinstance(figure, dict) for figure in record.metrics.values()):
        raise RecordError("record.json: metrics must hold objects")
