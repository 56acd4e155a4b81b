"""The last step of a run: its record and its seal, whatever came from outside into either."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.runner import api_key, record, rundir

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST = 2000


def seal(run_dir: Path, run: record.RunRecord) -> None:
    """List the artifacts, write the record as it is, and SHA256SUMS. Raises OSError."""
    api_key.forget(run_dir)
    run.artifacts = rundir.artifacts(run_dir)
    run.write(run_dir)
    rundir.seal(run_dir)


def spare(run: record.RunRecord) -> None:
    """Leave out what no record can hold, each for itself, so that it does not cost the whole of it."""
    run.metrics = {name: figure for name, figure in run.metrics.items() if record.writable({name: figure})}
    run.phases = [phase for phase in run.phases if record.writable(phase)]
    run.nodes = [node for node in run.nodes if record.writable(node)]
    run.model = run.model if record.writable(run.model) else None
    run.engine = run.engine if record.writable(run.engine) else None
    if not record.writable(run.error):
        run.error = _internal("the run failed, and its error cannot be written")


def bare(run_dir: Path, run: record.RunRecord, why: BaseException) -> None:
    """Seal a run of which no more of a record could be made, with nothing but the reason. Raises OSError."""
    run.status, run.error = "failed", _internal(f"the record could not be completed: {type(why).__name__}: {why}")
    run.phases, run.metrics = [], {}
    spare(run)
    seal(run_dir, run)


def _internal(message: str) -> dict[str, object]:
    told = {"kind": "internal", "phase": "supervisor", "message": message[:_LONGEST]}
    return {**told, "exit": None, "log_tail": []}
