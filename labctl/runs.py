"""Local run directories: mirror and fetch them from a host, open them, list them, verify them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.errors import TransferError, UnreadableRunError
from labctl.runner import record, rundir, spec

if TYPE_CHECKING:
    from labctl.runner.record import RunRecord
    from labctl.runner.spec import RunSpec
    from labctl.sessions import Entry, Session

ORIGIN = "local/origin.json"
# What one run may bring along; a host is not trusted with the laptop's disk.
MAX_BYTES = 2 * 1024**3
MAX_FILES = 2000
_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,120}")


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
    if not _RUN_ID.fullmatch(run_id):
        raise TransferError(f"{run_id!r} is no run id")
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
    try:
        found = json.loads((path / ORIGIN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def find(runs_dir: Path, name: str | None) -> Path:
    """The directory of a run: its id, an unambiguous part of one, or None for the newest. Raises UnreadableRunError."""
    known = [path.name for path in _folders(runs_dir)]
    if name is None and known:
        return runs_dir / known[-1]
    if name in known:
        return runs_dir / str(name)
    near = [run_id for run_id in known if name and name in run_id]
    if len(near) == 1:
        return runs_dir / near[0]
    if near:
        raise UnreadableRunError(f"{name} could be {len(near)} runs: {', '.join(near[:5])}", "labctl runs")
    raise UnreadableRunError(f"there is no run {name or 'yet'} in {runs_dir}", "labctl runs")


def load(path: Path) -> Run:
    """Open a run directory. Raises UnreadableRunError (missing, not JSON, newer schema)."""
    try:
        asked = spec.from_json((path / rundir.SPEC).read_text(encoding="utf-8"))
        told = record.from_json((path / rundir.RECORD).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableRunError(f"{path} is no readable run: {error}", "labctl runs") from error
    except (spec.SpecError, record.RecordError) as error:
        raise UnreadableRunError(f"{path}: {error}") from error
    return Run(path, asked, told, origin(path))


def listing(runs_dir: Path) -> list[dict[str, Any]]:
    """One row a local run, newest last; an unreadable one says so in ``status`` and ``note``."""
    return [_row(path) for path in _folders(runs_dir)]


def _folders(runs_dir: Path) -> list[Path]:
    """Folders that hold a run, oldest first; whatever else someone keeps there is left alone."""
    folders = sorted(path for path in runs_dir.iterdir() if path.is_dir()) if runs_dir.is_dir() else []
    return [path for path in folders if is_run(path)]


def is_run(path: Path) -> bool:
    """Whether a folder holds a run, or the note of one."""
    return any((path / name).is_file() for name in (rundir.SPEC, rundir.RECORD, ORIGIN))


def _row(path: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"run": path.name, "host": origin(path).get("host"), "note": ""}
    try:
        data = json.loads((path / rundir.RECORD).read_text(encoding="utf-8"))
        figure = (data.get("metrics") or {}).get("throughput") or {}
        error = data.get("error") or {}
        row |= {
            "status": data.get("status"),
            "throughput": figure.get("value"),
            "synthetic": (data.get("model") or {}).get("synthetic") is True,
            "note": error.get("message") or ("as last seen" if data.get("status") == "running" else ""),
        }
    except FileNotFoundError:
        row |= {"status": "not fetched", "throughput": None, "synthetic": None, "note": f"labctl fetch {path.name}"}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        row |= {"status": "unreadable", "throughput": None, "synthetic": None, "note": str(error)}
    return row


def _checked(entries: list[Entry]) -> dict[str, int]:
    """{path: size} of what may be fetched. Raises TransferError for links, climbing paths and too much of it."""
    for entry in entries:
        if not entry.regular:
            raise TransferError(f"the run holds {entry.path!r}, which is no plain file: nothing is fetched")
    files = {entry.path: entry.size for entry in entries}
    for name in files:
        parts = name.split("/")
        if {"", ".", ".."} & set(parts) or not name.isprintable() or "\\" in name or parts[0] in rundir.UNSEALED:
            raise TransferError(f"the run holds the unsafe path {name!r}: nothing is fetched")
    total = sum(files.values())
    if total > MAX_BYTES or len(files) > MAX_FILES:
        raise TransferError(
            f"the run holds {len(files)} files of {total} bytes; labctl fetches up to {MAX_FILES} of {MAX_BYTES}"
        )
    return files


def mirror(session: Session, remote_dir: str, path: Path) -> dict[str, int]:
    """Bring over what has grown since the last time; returns the host's {path: size}. Raises TransferError."""
    entries = session.walk(remote_dir)
    if entries is None:
        raise TransferError(f"the host has no run directory {remote_dir}")
    files = _checked([e for e in entries if not Path(e.path).name.startswith(".")])
    for name, size in files.items():
        target = _safe(path, name)
        here = target.stat().st_size if target.is_file() else 0
        # Records are replaced, not appended to; everything else only grows.
        if name in {rundir.RECORD, rundir.SPEC, rundir.SUMS}:
            _replace(session, f"{remote_dir}/{name}", target)
        elif size != here:
            session.get(f"{remote_dir}/{name}", target, offset=here if here < size else 0)
    return files


def _safe(path: Path, name: str) -> Path:
    """The local file of a name from the host. Raises TransferError where a link would lead the write elsewhere."""
    target = path / name
    for place in (target, *target.parents):
        if place == path:
            break
        if place.is_symlink():
            raise TransferError(f"{place} is a link: nothing is written through it")
    return target


def _replace(session: Session, source: str, target: Path) -> None:
    """Fetch a whole file beside the old one and put it in its place: a broken line never costs the old one."""
    part = target.with_name(f".{target.name}.part")
    try:
        session.get(source, part)
        part.replace(target)
    except FileNotFoundError as error:
        raise TransferError(f"cannot write {target}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def fetch(session: Session, remote_dir: str, path: Path) -> None:
    """Bring a sealed run over and check each file; what arrived wrong is fetched once more.

    Raises TransferError where the run is not sealed, or what arrives is not what the host sealed.
    """
    files = mirror(session, remote_dir, path)
    if not (path / rundir.SUMS).is_file():
        raise TransferError(f"{remote_dir} is not sealed yet", f"labctl attach {path.name}")
    for name in wrong_files(path):
        if name in files:
            _replace(session, f"{remote_dir}/{name}", _safe(path, name))
    extra = [f"{name} is not in the manifest" for name in files if name not in {*manifest(path), rundir.SUMS}]
    problems = [f"{name} is not what was sealed" for name in wrong_files(path)] + extra
    if problems:
        raise TransferError(f"what arrived is not what the host sealed: {'; '.join(problems[:5])}")


def manifest(path: Path) -> dict[str, str]:
    """{relative path: sha256} of a run directory. Raises UnreadableRunError."""
    try:
        return rundir.manifest((path / rundir.SUMS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        said = f"{path.name} is not sealed: it goes on, or was not fetched whole"
        raise UnreadableRunError(said, f"labctl attach {path.name}") from None
    except (OSError, ValueError) as error:
        raise UnreadableRunError(f"{path}: {error}") from error


def wrong_files(path: Path) -> list[str]:
    """Names in the manifest whose file is missing or has another checksum."""
    return [
        name
        for name, digest in manifest(path).items()
        if (path / name).is_symlink() or not (path / name).is_file() or rundir.sha256(path / name) != digest
    ]


def check_sums(path: Path) -> list[str]:
    """One sentence for each file that is missing, altered or extra; empty when the seal holds."""
    expected = manifest(path)
    found = [f"{name} is missing" for name in expected if not (path / name).exists()]
    found += [f"{name} was altered" for name in wrong_files(path) if (path / name).exists()]
    own = (place.relative_to(path) for place in sorted(path.rglob("*")) if place.is_symlink() or place.is_file())
    sealed = (place.as_posix() for place in own if place.parts[0] not in rundir.UNSEALED)
    return found + [f"{name} is not in the manifest" for name in sealed if name not in {*expected, rundir.SUMS}]


def forget(path: Path) -> None:
    """Remove the note of a run that never started."""
    for name in (rundir.SPEC, ORIGIN):
        (path / name).unlink(missing_ok=True)
    for folder in (path / "local", path):
        folder.rmdir()


def asked_launcher(path: Path) -> str:
    """The launcher that the run's spec names; the default where the spec is not here yet."""
    try:
        return spec.from_json((path / rundir.SPEC).read_text(encoding="utf-8")).launcher
    except (OSError, spec.SpecError):
        return "venv"
