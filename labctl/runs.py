"""Local run directories: make, find, open, list and check them."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labctl import fates
from labctl.errors import TransferError, UnreadableRunError
from labctl.runner import record, rundir, spec

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner.record import RunRecord
    from labctl.runner.spec import RunSpec

ORIGIN = "local/origin.json"
STUDY = "local/study.json"  # which point of which study a run is
_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,120}")
# Nothing that labctl writes is nested so deep; Python's own JSON gives up near a thousand, with a traceback.
_DEEPEST = 100
# The figure that says a run's throughput (tok/s), by its kind: passes, a serving benchmark, batching.
THROUGHPUTS = ("throughput", "best_throughput", "throughput_continuous")
_NOTE = 500  # characters shown of an error's message


@dataclass(frozen=True)
class Run:
    """A local run directory with what it says of itself."""

    path: Path
    spec: RunSpec
    record: RunRecord
    origin: dict[str, Any]

    @property
    def run_id(self) -> str:
        """The directory's name."""
        return self.path.name

    @property
    def host(self) -> str:
        """The inventory name of the host that it ran on."""
        return str(self.origin.get("host") or "?")


def create(runs_dir: Path, run_id: str, host: str, remote_dir: str, asked: RunSpec) -> Path:
    """Make the local directory of a run, with its spec and a note where it comes from. Raises TransferError."""
    if not is_id(run_id):
        raise TransferError(f"{run_id!r} is no run id")
    if _too_deep([asked.engine, asked.sampling, asked.env]):
        raise TransferError(f"the {rundir.SPEC} of {run_id} is nested deeper than anything that labctl writes")
    path = runs_dir / run_id
    try:
        path.mkdir(parents=True)
        (path / "local").mkdir()
        rundir.write_atomic(path / rundir.SPEC, asked.to_json().encode())
        rundir.write_atomic(path / ORIGIN, (json.dumps({"host": host, "remote_dir": remote_dir}) + "\n").encode())
    except OSError as error:
        raise TransferError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def origin(path: Path) -> dict[str, Any]:
    """{"host", "remote_dir"}; empty for a run that was copied here by hand."""
    return fates.note(path / ORIGIN)


def find(runs_dir: Path, name: str | None) -> Path:
    """The directory of a run: its id, an unambiguous part of one, or None for the newest. Raises UnreadableRunError."""
    return runs_dir / choose([path.name for path in folders(runs_dir)], name, str(runs_dir), "labctl runs")


def choose(known: list[str], name: str | None, place: str, listing_command: str) -> str:
    """The run id that a name means among ids in order of time. Raises UnreadableRunError."""
    if name is None and known:
        return known[-1]
    if name in known:
        return str(name)
    near = [run_id for run_id in known if name and name in run_id]
    if len(near) == 1:
        return near[0]
    if near:
        raise UnreadableRunError(f"{name} could be {len(near)} runs: {', '.join(near[:5])}", listing_command)
    elsewhere = "" if name is None or "--host" in listing_command else "; one that was started elsewhere takes --host"
    raise UnreadableRunError(f"there is no run {name or 'yet'} in {place}{elsewhere}", listing_command)


def load(path: Path) -> Run:
    """Open a run directory. Raises UnreadableRunError (missing, not JSON, newer schema)."""
    try:
        asked = read_spec((path / rundir.SPEC).read_text(encoding="utf-8"))
        told = record.from_json((path / rundir.RECORD).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableRunError(f"{path} is no readable run: {error}", "labctl runs") from error
    except (spec.SpecError, record.RecordError) as error:
        raise UnreadableRunError(f"{path}: {error}") from error
    if _too_deep([getattr(told, item.name) for item in dataclasses.fields(told)]):
        raise UnreadableRunError(f"{path}: {rundir.RECORD} is nested deeper than anything that labctl writes")
    return Run(path, asked, fates.as_known(path, told), origin(path))


def read_spec(text: str) -> RunSpec:
    """A spec that may come from a host. Raises SpecError."""
    asked = spec.from_json(text)
    if _too_deep([asked.engine, asked.sampling, asked.env]):
        raise spec.SpecError(f"{rundir.SPEC} is nested deeper than anything that labctl writes")
    return asked


def _too_deep(value: object, left: int = _DEEPEST) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left == 0 or any(_too_deep(item, left - 1) for item in inner if isinstance(item, (dict, list)))


def listing(runs_dir: Path) -> list[dict[str, Any]]:
    """One row a local run, newest last; an unreadable one says so in ``status`` and ``note``."""
    return [_row(path) for path in folders(runs_dir)]


def folders(runs_dir: Path) -> list[Path]:
    """Folders that hold a run, oldest first; whatever else someone keeps there is left alone."""
    found = sorted(path for path in runs_dir.iterdir() if path.is_dir()) if runs_dir.is_dir() else []
    return [path for path in found if is_run(path)]


def is_id(name: str) -> bool:
    """Whether a name can be a run's: plain characters, no path."""
    return _RUN_ID.fullmatch(name) is not None


def is_run(path: Path) -> bool:
    """Whether a folder holds a run, or the note of one."""
    return any((path / name).is_file() for name in (rundir.SPEC, rundir.RECORD, ORIGIN))


def _row(path: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"run": path.name, "host": origin(path).get("host"), "note": ""}
    known = fates.noted(path)
    try:
        text = (path / rundir.RECORD).read_text(encoding="utf-8")
        row |= row_of(text)
        if row["status"] == "running":
            row |= {"status": known.get("status", "running"), "note": known.get("why", "as last seen")}
    except FileNotFoundError:
        status, note = known.get("status", "not fetched"), known.get("why", f"labctl fetch {path.name}")
        row |= {"status": status, "throughput": None, "synthetic": None, "note": note}
    except (OSError, UnicodeDecodeError) as error:
        row |= unreadable(error)
    return row


def row_of(text: str) -> dict[str, Any]:
    """Status, throughput (tok/s), synthetic and note from the text of a record, whatever it holds."""
    try:
        data = json.loads(text)
        figures = data.get("metrics") or {}
        figure: dict[str, Any] = next((figures[name] for name in THROUGHPUTS if figures.get(name)), {})
        error = data.get("error") or {}
        value, note, status = figure.get("value"), error.get("message"), data.get("status")
        synthetic = (data.get("model") or {}).get("synthetic")
    except (ValueError, AttributeError, RecursionError) as error:
        return unreadable(error)
    if status not in record.STATUSES:
        return unreadable(ValueError("its record has no status that this labctl knows"))
    return {
        "status": status,
        "throughput": value if isinstance(value, (int, float)) and not isinstance(value, bool) else None,
        # Until the model was found (or made), nobody knows.
        "synthetic": synthetic if isinstance(synthetic, bool) else None,
        "note": note[:_NOTE] if isinstance(note, str) else "",
    }


def unreadable(error: Exception) -> dict[str, Any]:
    """The row of a run whose record cannot be read."""
    return {"status": "unreadable", "throughput": None, "synthetic": None, "note": str(error)}


def forget(path: Path) -> None:
    """Remove the note of a run that never started."""
    for name in (rundir.SPEC, ORIGIN, STUDY):
        (path / name).unlink(missing_ok=True)
    for folder in (path / "local", path):
        folder.rmdir()


def asked_launcher(path: Path) -> str:
    """The launcher that the run's spec names; the default where the spec is not here yet."""
    try:
        return spec.from_json((path / rundir.SPEC).read_text(encoding="utf-8")).launcher
    except (OSError, spec.SpecError):
        return "venv"
