"""Take in run directories that travelled back by hand: out of an archive or a folder, by the same path as a fetch.

What an archive holds was written by others: it is unpacked here member by member, plain files alone, within bounds,
into a scratch folder; from there a run is fetched as from any host, its seal checked, and put in its place whole.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl import fates, runs, transfer, verification
from labctl.errors import LabError, TransferError, UnreadableRunError
from labctl.inventory import Host
from labctl.runner import rundir
from labctl.seals import is_plain
from labctl.sessions import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

# How deep below the archive's top a run may lie: project/runs/RUN, and one more.
DEEPEST = 4
# Of one archive; of one run it is what a fetch takes from a host.
MOST_ENTRIES = 50_000
MOST_BYTES = 16 * 1024**3
# A header of tar is read whole; nothing that names a file is so long.
_LARGEST_READ = 1 << 20
_BLOCK = 1 << 18
_MAGIC: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"\xfd7zXZ\x00", lzma.open),
    (b"BZh", bz2.open),
)
# What makes a folder a run.
_MARKS = frozenset({rundir.SPEC, rundir.RECORD})
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError, ValueError)
# zipfile's own words for a method, a version or a password that it does not know.
_BROKEN = (*_DAMAGED, NotImplementedError, RuntimeError)


class Taken(NamedTuple):
    """What came of one run: its id, ``taken``, ``completed``, ``here`` or ``refused``, its place, a note, an error."""

    run: str
    came: str
    path: Path | None
    sealed: bool
    note: str
    error: LabError | None = None


class Member(NamedTuple):
    """One thing in an archive: its path as told, its size, whether it is a plain file, and what opens it."""

    name: str
    size: int
    plain: bool
    open: Callable[[], Any]


def take(source: Path, runs_dir: Path) -> Iterator[Taken]:
    """Yield what came of each run in an archive or folder. Raises UnreadableRunError, OSError."""
    runs_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=runs_dir, prefix=".import-") as scratch:
        folder = Path(scratch)
        try:
            found = _unpack(source, folder / "unpacked")
        except _BROKEN as error:
            raise UnreadableRunError(
                f"{source} is no archive that can be read: {error or type(error).__name__}"
            ) from error
        if not found:
            raise UnreadableRunError(
                f"{source} holds no run: none of its folders has a {rundir.SPEC} or {rundir.RECORD}"
            )
        for run_id, place in found.items():
            try:
                yield _take(run_id, place, folder / "fetched" / run_id, runs_dir / run_id, source.name)
            except LabError as error:
                yield Taken(run_id, "refused", None, sealed=False, note=str(error), error=error)


def _take(run_id: str, place: Path, scratch: Path, target: Path, archive: str) -> Taken:
    """Fetch one unpacked run into a scratch folder, then move it to its place. Raises LabError."""
    sealed = (place / rundir.SUMS).is_file()
    with open_session(Host(name=archive, connection="local", lab_dir=str(place), address=archive)) as session:
        bring = transfer.fetch if sealed else transfer.mirror
        bring(session, str(place), scratch)
    (scratch / transfer.LOCK).unlink(missing_ok=True)
    run = runs.load(scratch)
    if run.record.run_id != run_id:
        raise UnreadableRunError(f"the folder {run_id} holds the run {run.record.run_id}: it was renamed")
    note = "; ".join(verification.problems(run)[:3]) if sealed else "not sealed: nothing vouches for its files"
    if target.exists():
        return _beside(scratch, target, note, sealed=sealed)
    _origin(scratch, _host(place, run), archive)
    if not sealed:
        fates.mark(scratch, "lost", f"it came without a seal, in {archive}")
    scratch.replace(target)
    return Taken(run_id, "taken", target, sealed, note)


def _beside(scratch: Path, target: Path, note: str, *, sealed: bool) -> Taken:
    """A run that is here already: the same, or one that the archive has more of. Raises TransferError."""
    here, there = _sums(target), _sums(scratch)
    if here == there:
        return Taken(target.name, "here", target, sealed, "already here")
    if not (target / rundir.SUMS).exists() and sealed and _goes_on(target, scratch):
        for name in [*there, rundir.SUMS]:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).replace(target / name)
        (target / fates.NAME).unlink(missing_ok=True)
        return Taken(target.name, "completed", target, sealed, note)
    if sealed and not (target / rundir.SUMS).exists():
        why = "what is here of it is not the beginning of that"
    else:
        why = "another content"
    raise TransferError(f"{target.name} is here already, with {why}: move {target} elsewhere to take that one in")


def _sums(path: Path) -> dict[str, str]:
    return {name: rundir.sha256(path / name) for name in rundir.files(path)}


def _goes_on(here: Path, there: Path) -> bool:
    """Whether what is here of a run is what its host had sent before: the same spec, and beginnings of its files."""
    for name in rundir.files(here):
        mine, theirs = here / name, there / name
        if name == rundir.RECORD:
            continue
        if not theirs.is_file() or (name == rundir.SPEC and mine.read_bytes() != theirs.read_bytes()):
            return False
        if not _begins(theirs, mine):
            return False
    return True


def _begins(whole: Path, part: Path) -> bool:
    with whole.open("rb") as one, part.open("rb") as other:
        while data := other.read(_BLOCK):
            if one.read(len(data)) != data:
                return False
    return True


def _host(place: Path, run: runs.Run) -> str:
    """The name that the run's own labctl knew its host by; else what the machine called itself."""
    known = runs.origin(_aside(place)).get("host")
    nodes = run.record.nodes
    name = known or (nodes[0].get("name") if nodes and isinstance(nodes[0], dict) else None)
    return name if isinstance(name, str) and runs.is_id(name) else "?"


def _aside(place: Path) -> Path:
    """Where the note of the labctl that fetched it is unpacked: a fetch takes nothing of that from a host."""
    return place.with_name(f"{place.name}.local")


def _origin(path: Path, host: str, archive: str) -> None:
    told = {"host": host, "remote_dir": None, "archive": archive}
    try:
        rundir.write_atomic(path / runs.ORIGIN, (json.dumps(told) + "\n").encode())
    except OSError as error:
        raise TransferError(f"cannot write {path / runs.ORIGIN}: {error.strerror or error}") from error


def _unpack(source: Path, into: Path) -> dict[str, Path]:
    """{run id: folder} of the runs in an archive, unpacked. Raises UnreadableRunError for what no run holds."""
    with _members(source) as listed:
        members = list(_bounded(source, listed()))
        homes = _homes(source, members)
        for member in members:
            home = next((above for above in _above(member.name) if above in homes), None)
            if home is not None:
                _write(source, member, home, into / homes[home])
    return {run_id: into / run_id for run_id in homes.values()}


def _homes(source: Path, members: list[Member]) -> dict[str, str]:
    """{folder in the archive: run id}."""
    marks = {str(PurePosixPath(member.name).parent) for member in members if _leaf(member.name) in _MARKS}
    # A run within a run (a copy in its local/, say) is part of that one.
    tops = sorted(one for one in marks if not any(above in marks for above in _above(one) if above != one))
    homes: dict[str, str] = {}
    for home in tops:
        if home != "." and len(PurePosixPath(home).parts) > DEEPEST:
            continue
        run_id = PurePosixPath(home).name if home != "." else _stem(source)
        if not runs.is_id(run_id):
            raise UnreadableRunError(f"{source} holds a run in the folder {run_id!r}, which is no run id")
        if run_id in homes.values():
            raise UnreadableRunError(f"{source} holds {run_id} twice")
        homes[home] = run_id
    return homes


def _leaf(name: str) -> str:
    return PurePosixPath(name).name


def _stem(source: Path) -> str:
    name = source.resolve().name
    return name if source.is_dir() else name.partition(".tar")[0].removesuffix(".zip").removesuffix(".tgz")


def _above(name: str) -> Iterator[str]:
    """A path and the folders above it, to the top."""
    path = PurePosixPath(name)
    yield str(path)
    yield from map(str, path.parents)


def _bounded(source: Path, members: Iterator[Member]) -> Iterator[Member]:
    """Members with plain paths below the top. Raises UnreadableRunError where one is unsafe, or there is too much."""
    count = total = 0
    for member in members:
        name = member.name.removeprefix("./")
        if not is_safe(name):
            raise UnreadableRunError(f"{source} holds the unsafe path {member.name!r}: nothing is taken in")
        if not member.plain:
            raise UnreadableRunError(f"{source} holds {name!r}, which is no plain file: nothing is taken in")
        count, total = count + 1, total + member.size
        if count > MOST_ENTRIES or member.size > transfer.MAX_BYTES or total > MOST_BYTES:
            what = f"more than {MOST_ENTRIES} files, or than {transfer.MAX_BYTES} bytes of one, or {MOST_BYTES} of all"
            raise UnreadableRunError(f"{source} holds {what}: nothing is taken in")
        yield member._replace(name=name)


def is_safe(name: str) -> bool:
    """Whether a member's path stays below the archive's top, on any file system."""
    return is_plain(f"in/{name}") and not name.startswith("/")


def _write(source: Path, member: Member, home: str, into: Path) -> None:
    """Unpack one member of the run whose folder in the archive is ``home``."""
    inner = PurePosixPath(member.name).relative_to(home)
    target = into / inner
    if inner.parts[0] in rundir.UNSEALED:
        if inner.as_posix() != runs.ORIGIN or member.size > _LARGEST_READ:
            return  # what a laptop adds: this one makes its own
        target = _aside(into) / inner
    left = member.size
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as reader, target.open("xb") as writer:
            while left and (data := reader.read(min(left, _BLOCK))):
                writer.write(data)
                left -= len(data)
    except FileExistsError:
        raise UnreadableRunError(f"{source} holds {member.name!r} twice: nothing is taken in") from None
    if left:
        raise UnreadableRunError(f"{source} ends within {member.name!r}")


@contextmanager
def _members(source: Path) -> Iterator[Callable[[], Iterator[Member]]]:
    """What lists an archive or a folder. Raises UnreadableRunError."""
    if source.is_dir():
        yield lambda: _of_folder(source)
    elif not source.is_file():
        raise UnreadableRunError(f"there is no archive or folder {source}")
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            yield lambda: _of_zip(archive)
    else:
        with _opened(source) as stream, tarfile.open(fileobj=stream, mode="r:") as packed:
            yield lambda: _of_tar(packed)


def _of_folder(folder: Path) -> Iterator[Member]:
    """Files of a folder; a link to a folder is not followed, and is no plain file."""
    for here, names, leaves in os.walk(folder):
        links = [name for name in names if (Path(here) / name).is_symlink()]
        for leaf in (*leaves, *links):
            path = Path(here) / leaf
            facts = path.lstat()
            name = path.relative_to(folder).as_posix()
            yield Member(name, facts.st_size, stat.S_ISREG(facts.st_mode), partial(path.open, "rb"))


def _of_zip(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        if info.is_dir():
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        plain = kind in (0, stat.S_IFREG) and not info.flag_bits & 1  # the last: it is encrypted
        yield Member(info.filename, info.file_size, plain, partial(archive.open, info))


def _of_tar(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        if info.isdir():
            continue
        yield Member(info.name, info.size, info.isreg(), partial(archive.extractfile, info))


@contextmanager
def _opened(source: Path) -> Iterator[BinaryIO]:
    """A tar archive's own bytes, whatever packs them."""
    with source.open("rb") as file:
        head = file.read(8)
        file.seek(0)
        unpack = next((opener for magic, opener in _MAGIC if head.startswith(magic)), None)
        if unpack is None:
            yield _Careful(file)  # type: ignore[misc]
        else:
            with unpack(file, "rb") as stream:
                yield _Careful(stream)  # type: ignore[misc]


class _Careful:
    """A file that refuses to be read in large blocks: a header that claims gigabytes is not taken into memory."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LARGEST_READ:
            raise tarfile.ReadError(f"a header of it claims {size} bytes")
        return bytes(self._file.read(size))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
