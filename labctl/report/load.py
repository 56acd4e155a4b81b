"""What a run directory holds, read once and defensively: what cannot be read is left out and said so."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labctl import fates, runs
from labctl.report.amounts import finite
from labctl.report.raw import ROWS, Raw, Row
from labctl.runner import record as records
from labctl.runner import rundir
from labctl.runner import spec as specs

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = "unknown"
PROMPTS = "prompts"

Sample = dict[str, float | str | None]
# Columns of samples.csv that are drawn.
SAMPLED = (
    "t", "gpu_mem_used", "gpu_mem_total", "gpu_util", "power_w", "sm_clock_mhz", "temp_c", "throttle", "rss", "cpu",
    "mem_available",
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Run:
    """One run as read; ``raw`` reads its further files, each row with its ``line``."""

    spec: specs.RunSpec | None
    record: records.RunRecord
    raw: Raw
    samples: list[Sample] = field(default_factory=list)
    outputs: list[Row] = field(default_factory=list)
    requests: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    host: object = None  # the inventory's name for it, which only the laptop knows

    @property
    def kind(self) -> str:
        """The kind of its workload; that of prompts where the spec is missing."""
        return self.spec.workload.kind if self.spec else PROMPTS

    @property
    def notes(self) -> list[str]:
        """What was missing or unreadable, in plain sentences."""
        return self.raw.notes


def read(run_dir: Path) -> Run:
    """Read a run directory. Raises SpecError or RecordError (unreadable, newer schema, neither there)."""
    notes: list[str] = []
    raw = Raw(run_dir, notes)
    asked, happened = raw.text(rundir.SPEC, needed=True), raw.text(rundir.RECORD, needed=True)
    if asked is None and happened is None:
        raise records.RecordError(f"{run_dir} is no run directory: neither {rundir.SPEC} nor {rundir.RECORD}")
    run = Run(
        spec=None if asked is None else specs.from_json(asked),
        record=_no_record(run_dir.name) if happened is None else fates.as_known(run_dir, records.from_json(happened)),
        raw=raw,
        host=runs.origin(run_dir).get("host"),
    )
    sampled = run.kind != "parameters" and (run.spec is None or run.spec.sample_hz > 0)
    run.samples = _samples(raw.text(rundir.SAMPLES, needed=sampled), notes)
    prompts = run.kind == PROMPTS
    run.outputs = raw.rows(rundir.OUTPUTS, needed=prompts)
    run.requests = raw.rows(rundir.REQUESTS, needed=prompts)
    run.events = [row for row in raw.rows(rundir.EVENTS) if isinstance(row.get("event"), str)]
    return run


def _no_record(name: str) -> records.RunRecord:
    return records.RunRecord(run_id=name, status=UNKNOWN, spec_sha256="", anchor={})


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
    for name in SAMPLED:
        try:
            sample[name] = finite(float(row.get(name) or "nan"))
        except (TypeError, ValueError):
            sample[name] = None
    return sample
