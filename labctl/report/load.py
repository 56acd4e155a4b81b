"""What a run directory holds, read once and defensively: what cannot be read is left out and said so."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labctl import fates, runs
from labctl.report.amounts import finite
from labctl.runner import record as records
from labctl.runner import rundir
from labctl.runner import spec as specs

if TYPE_CHECKING:
    from pathlib import Path

CAP = 32 * 2**20  # bytes read of one file
ROWS = 200_000  # rows read of one file
UNKNOWN = "unknown"

Sample = dict[str, float | str | None]


@dataclass(slots=True, kw_only=True)
class Run:
    """One run as read: ``notes`` says in plain sentences what was missing or unreadable."""

    spec: specs.RunSpec | None
    record: records.RunRecord
    samples: list[Sample] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    host: object = None  # the inventory's name for it, which only the laptop knows


def read(run_dir: Path) -> Run:
    """Read a run directory. Raises SpecError or RecordError (unreadable, newer schema, neither there)."""
    notes: list[str] = []
    asked, happened = _text(run_dir, rundir.SPEC, notes), _text(run_dir, rundir.RECORD, notes)
    if asked is None and happened is None:
        raise records.RecordError(f"{run_dir} is no run directory: neither {rundir.SPEC} nor {rundir.RECORD}")
    run = Run(
        spec=None if asked is None else specs.from_json(asked),
        record=_no_record(run_dir.name) if happened is None else fates.as_known(run_dir, records.from_json(happened)),
        notes=notes,
        host=runs.origin(run_dir).get("host"),
    )
    run.samples = _samples(_text(run_dir, rundir.SAMPLES, notes), notes)
    run.outputs = _rows(_text(run_dir, rundir.OUTPUTS, notes), rundir.OUTPUTS, notes)
    run.requests = _rows(_text(run_dir, rundir.REQUESTS, notes), rundir.REQUESTS, notes)
    return run


def _text(run_dir: Path, name: str, notes: list[str]) -> str | None:
    path = run_dir / name
    try:
        if path.is_symlink() or not path.is_file():
            notes.append(f"{name} is not in the run directory.")
            return None
        with path.open("rb") as handle:
            data = handle.read(CAP + 1)
    except OSError as error:
        notes.append(f"{name} could not be read: {error.strerror}.")
        return None
    if len(data) > CAP:
        notes.append(f"{name} is larger than {CAP // 2**20} MiB: only its beginning was read.")
    return data[:CAP].decode("utf-8", "replace")


def _no_record(name: str) -> records.RunRecord:
    return records.RunRecord(run_id=name, status=UNKNOWN, spec_sha256="", anchor={})


def _rows(text: str | None, name: str, notes: list[str]) -> list[dict[str, Any]]:
    rows, broken = [], 0
    for raw in (text or "").splitlines()[:ROWS]:
        try:
            row = json.loads(raw) if raw.strip() else None
        except (ValueError, RecursionError):
            row = raw
        if isinstance(row, dict):
            rows.append(row)
        elif row is not None:
            broken += 1
    if broken:
        notes.append(f"{name} has {broken:,} lines that could not be read.")
    return rows


def _samples(text: str | None, notes: list[str]) -> list[Sample]:
    lines = (text or "").replace("\0", "").splitlines()[:ROWS]
    try:
        rows = list(csv.DictReader(lines))
    except csv.Error as error:
        notes.append(f"{rundir.SAMPLES} could not be read: {error}.")
        return []
    samples = [_sample(row) for row in rows]
    good = [sample for sample in samples if sample["t"] is not None]
    if len(good) < len(samples):
        notes.append(f"{rundir.SAMPLES} has {len(samples) - len(good):,} rows without a time, not drawn.")
    return good


def _sample(row: dict[str | Any, str | Any]) -> Sample:
    sample: Sample = {"gpu": str(row.get("gpu") or "")[:64]}
    for name in ("t", "gpu_mem_used", "gpu_mem_total", "gpu_util", "rss", "cpu", "mem_available"):
        try:
            sample[name] = finite(float(row.get(name) or "nan"))
        except (TypeError, ValueError):
            sample[name] = None
    return sample
