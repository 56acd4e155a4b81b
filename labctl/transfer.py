"""Bring run directories home: mirrored while they grow, fetched and checked once they are sealed."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from labctl import fates
from labctl.errors import RunGoneError, TransferError
from labctl.runner import rundir, spec
from labctl.runs import read_spec
from labctl.seals import is_plain, manifest, wrong_files
from labctl.sessions import Want

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from labctl.sessions import Entry, Session

LOCK = "local/.lock"
# What one run may bring along; a host is not trusted with the laptop's disk.
MAX_BYTES = 2 * 1024**3
MAX_FILES = 2000
# Replaced on the host while the run goes on, not appended to; they may have grown since they were listed.
_REPLACED = frozenset({rundir.RECORD, rundir.SPEC, rundir.SUMS})
# What labctl reads whole into its memory.
_READ_WHOLE = {
    **dict.fromkeys((*_REPLACED, rundir.EVENTS, rundir.SYSTEM, rundir.PACKAGES, rundir.METRICS), 16 * 1024**2),
    rundir.REQUESTS: 64 * 1024**2,
}


def mirror(session: Session, remote_dir: str, path: Path) -> dict[str, int]:
    """Bring over what has grown since the last time; returns the host's {path: size}.

    Raises TransferError; RunGoneError where the host has no such run (any more).
    """
    with _alone(path):
        return _mirror(session, remote_dir, path)


def _mirror(session: Session, remote_dir: str, path: Path) -> dict[str, int]:
    entries = session.walk(remote_dir)
    if entries is None:
        raise RunGoneError(f"the host has no run directory {remote_dir}")
    files = _checked([e for e in entries if not Path(e.path).name.startswith(".")], path)
    _bring(session, remote_dir, path, files, _REPLACED)
    # The host has spoken: whatever was thought of it is no longer so.
    (path / fates.NAME).unlink(missing_ok=True)
    return files


def fetch(session: Session, remote_dir: str, path: Path) -> None:
    """Bring a sealed run over and check each file; what arrived wrong is fetched once more.

    Raises TransferError where the run is not sealed, or what arrives is not what the host sealed.
    """
    with _alone(path):
        _fetch(session, remote_dir, path)


def _fetch(session: Session, remote_dir: str, path: Path) -> None:
    files = _mirror(session, remote_dir, path)
    if not (path / rundir.SUMS).is_file():
        raise TransferError(f"{remote_dir} is not sealed yet", f"labctl attach {path.name}")
    if len(manifest(path)) > MAX_FILES:
        raise TransferError(f"the manifest names more files than the {MAX_FILES} that labctl fetches")
    again = {name: files[name] for name in wrong_files(path) if name in files}
    _bring(session, remote_dir, path, again, again, sealed=True)
    sealed = {*manifest(path), rundir.SUMS}
    problems = [f"{name} is not what was sealed" for name in wrong_files(path)]
    problems += [f"{name} is not in the manifest" for name in sorted({*files, rundir.SPEC, rundir.RECORD} - sealed)]
    if problems:
        raise TransferError(f"what arrived is not what the host sealed: {'; '.join(problems[:5])}")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One labctl at a time writes into a run directory; a second one waits for its turn."""
    try:
        (path / "local").mkdir(parents=True, exist_ok=True)
        handle = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o640)
    except OSError as error:
        raise TransferError(f"cannot write {path / LOCK}: {error.strerror or error}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _checked(entries: list[Entry], path: Path) -> dict[str, int]:
    """{path: size} of what may be fetched. Raises TransferError for links, climbing paths and too much of it."""
    for entry in entries:
        if not entry.regular:
            raise TransferError(f"the run holds {entry.path!r}, which is no plain file: nothing is fetched")
    files = {entry.path: entry.size for entry in entries}
    folders = {str(above) for name in files for above in Path(name).parents}
    for name, size in files.items():
        if not is_plain(name) or name in folders:
            raise TransferError(f"the run holds the unsafe path {name!r}: nothing is fetched")
        if not 0 <= size <= _READ_WHOLE.get(name, MAX_BYTES):
            most = _READ_WHOLE.get(name, MAX_BYTES)
            raise TransferError(f"the run's {name} has {size} bytes; labctl fetches up to {most} of it")
    # What came before and is listed no more counts too: a host could fill the disk by turns.
    kept = [(path / name).stat().st_size for name in rundir.files(path) if name not in files]
    count, total = len(files) + len(kept), sum(files.values()) + sum(kept)
    if total > MAX_BYTES or count > MAX_FILES:
        raise TransferError(
            f"the run holds {count} files of {total} bytes; labctl fetches up to {MAX_FILES} of {MAX_BYTES}"
        )
    return files


def _bring(  # noqa: PLR0913 - what, from where, to where
    session: Session,
    remote_dir: str,
    path: Path,
    files: dict[str, int],
    whole: Iterable[str],
    *,
    sealed: bool = False,
) -> None:
    """One exchange for all: what ``files`` have beyond the local ones, those in ``whole`` from their beginning."""
    wanted = [_want(path, name, size, whole=name in whole) for name, size in files.items()]
    offsets = {want.name: want.offset for want in wanted if want is not None}
    parts = {name: _beside(_safe(path, name)) for name in offsets if name in whole}

    @contextmanager
    def into(name: str) -> Iterator[BinaryIO]:
        with _writer(parts.get(name) or _safe(path, name), offsets[name]) as handle:
            yield handle

    try:
        found = session.bring(remote_dir, [want for want in wanted if want is not None], into) if offsets else set()
        for name in found & parts.keys():
            if name == rundir.SPEC:
                _keep_asked(path / name, parts[name])
            if name == rundir.RECORD and not sealed and not _is_json(parts[name]):
                continue  # it was replaced while it was read: the next look gets it whole
            _replace(parts[name], path / name)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _want(path: Path, name: str, size: int, *, whole: bool) -> Want | None:
    """What to ask for; None where the local file is as long already (its checksum is looked at in the end)."""
    if whole:
        return Want(name, limit=_READ_WHOLE[name] if name in _REPLACED else size)
    target = _safe(path, name)
    here = target.stat().st_size if target.is_file() else -1
    if size == here:
        return None
    offset = here if 0 < here < size else 0
    return Want(name, offset, size - offset)


def _beside(target: Path) -> Path:
    """A whole file goes here first: a broken line never costs the old one."""
    return target.with_name(f".{target.name}.part")


def _replace(part: Path, target: Path) -> None:
    try:
        part.replace(target)
    except OSError as error:
        raise TransferError(f"cannot write {target}: {error.strerror or error}") from error


def _is_json(part: Path) -> bool:
    try:
        json.loads(part.read_bytes())
    except (ValueError, RecursionError):
        return False
    return True


def _keep_asked(ours: Path, theirs: Path) -> None:
    """Raise TransferError where the host shows another spec than the one that this laptop asked for."""
    try:
        asked = read_spec(ours.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, spec.SpecError):
        return  # nothing readable is lost
    try:
        same = read_spec(theirs.read_text(encoding="utf-8")).to_json() == asked.to_json()
    except (OSError, UnicodeDecodeError, spec.SpecError):
        same = False
    if not same:
        raise TransferError(f"the host's {rundir.SPEC} is not what was asked of it: it was changed there")


def _safe(path: Path, name: str) -> Path:
    """The local file of a name from the host. Raises TransferError where a link would lead the write elsewhere."""
    target = path / name
    for place in (target, *target.parents):
        if place == path:
            break
        if place.is_symlink():
            raise TransferError(f"{place} is a link: nothing is written through it")
    return target


@contextmanager
def _writer(target: Path, offset: int) -> Iterator[BinaryIO]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("r+b" if offset else "wb") as handle:
            handle.seek(offset)
            handle.truncate()
            yield handle
    except OSError as error:
        raise TransferError(f"cannot write {target}: {error.strerror or error}") from error
