"""Send a bundle to a host: only what it lacks, by checksum; a broken line costs no more than one piece."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from labctl.bundle import parts
from labctl.errors import TransferError
from labctl.runner import rundir

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.inventory import Host
    from labctl.sessions import Session

_FOLDER = "bundle"  # below the lab directory
_PIECE = 32 * 1024**2
_PIECES = ".pieces"
_LISTED, _WHERE = ".have", ".where"
# check_bundle.py leaves it where all was right, and takes it away where something was not.
_SEEN = "joined/.seen.json"
# What the host says of itself goes into commands and to Ansible: no more than a folder's plain name.
_PLAIN = re.compile(r"/[\w./@+~ -]*")
_LISTED_BYTES = 16 * 1024**2
_WORK_S = 1800.0
# What a host found goes into a file: what it prints is for people.
_HASH = (
    f'cd -- "$1" && find . -type f ! -path "./joined/*" ! -path "./{_PIECES}/*" ! -name {_LISTED} ! -name {_WHERE} '
    f"-exec sha256sum {{}} + > {_LISTED}"
)
_PLACE = f'mkdir -p -- "$1" && cd -- "$1" && pwd > {_WHERE}'
_TIDY = 'cd -- "$1" && shift && rm -rf -- "$@"'
_PUT_TOGETHER = (
    'cd -- "$1" && mkdir -p -- "$(dirname -- "$2")" && cat -- "$3"/* > "$2.part" && '
    'mv -f -- "$2.part" "$2" && rm -rf -- "$3"'
)
_TOGETHER = 200  # names on one command line


def send(session: Session, host: Host, folder: Path) -> str:
    """Bring a bundle to the host and give its folder there; a local host uses it where it lies.

    Raises TransferError where the bundle is not whole here, was altered, or could not be written there,
    UnreachableError.
    """
    parts.about(folder)
    if host.connection == "local":
        return str(folder.resolve())
    there = _There(session, host, f"{host.lab_dir}/{_FOLDER}")
    wanted = _wanted(folder)
    if not there.holds(folder, wanted):
        have = there.checksums()
        lacks = {name: digest for name, digest in wanted.items() if have.get(name) != digest}
        _check(folder, lacks)
        there.remove([parts.SUMS, *(name for name in have if name not in wanted)])
        for name, digest in lacks.items():
            there.put(folder / name, name, digest)
        # Last: with it the bundle there is whole.
        session.put((folder / parts.SUMS).read_bytes(), f"{there.place}/{parts.SUMS}")
        there.remove([_PIECES])
    return there.place


def _wanted(folder: Path) -> dict[str, str]:
    """{path: checksum} of what a host gets: all but what only labctl itself needs."""
    sums = rundir.manifest((folder / parts.SUMS).read_text(encoding="utf-8"))
    files = parts.listed(folder)
    own = {piece for name, file in files.items() if name.startswith("controller/") for piece in file.parts}
    return {name: digest for name, digest in sums.items() if name not in {*own, parts.INSTALL}}


def _check(folder: Path, sums: dict[str, str]) -> None:
    """Raise TransferError naming what is not what SHA256SUMS says."""
    bad = [
        name for name, digest in sums.items() if not (folder / name).is_file() or rundir.sha256(folder / name) != digest
    ]
    if bad:
        what = f"the bundle {folder} is refused: {', '.join(bad[:5])} is missing or was altered"
        raise TransferError(what, "labctl bundle ... (with the same options: only that is downloaded again)")


class _There:
    """The bundle's folder on a host; ``place`` is absolute."""

    def __init__(self, session: Session, host: Host, place: str) -> None:
        self._session, self._host = session, host
        self._do(_PLACE, place)
        found = session.read(f"{place}/{_WHERE}", limit=4096)
        self.place = (found or b"").decode(errors="replace").removesuffix("\n")
        if not self.place.startswith("/"):
            raise TransferError(f"{host.name}: where {place} lies could not be found out")
        if not _PLAIN.fullmatch(self.place):
            what = f"{host.name}: {place} is {self.place!r} there, which a bundle's folder cannot be called"
            raise TransferError(what, "set lab_dir to a folder of letters, digits and . _ - + @ ~")

    def holds(self, folder: Path, wanted: dict[str, str]) -> bool:
        """Whether the same bundle is there, whole, and was found right by the host after it came."""
        sizes = {entry.path: entry.size for entry in self._session.walk(self.place) or [] if entry.regular}
        if _SEEN not in sizes or any(sizes.get(name) != (folder / name).stat().st_size for name in wanted):
            return False
        sums = self._session.read(f"{self.place}/{parts.SUMS}", limit=_LISTED_BYTES)
        return sums == (folder / parts.SUMS).read_bytes()

    def checksums(self) -> dict[str, str]:
        """{path: sha256} of what is there."""
        self._do(_HASH, self.place)
        text = (self._session.read(f"{self.place}/{_LISTED}", limit=_LISTED_BYTES) or b"").decode(errors="replace")
        rows = (line.partition("  ") for line in text.splitlines())
        return {name.removeprefix("./"): digest for digest, _, name in rows}

    def remove(self, names: list[str]) -> None:
        """Remove files, or folders."""
        for at in range(0, len(names), _TOGETHER):
            self._do(_TIDY, self.place, *names[at : at + _TOGETHER])

    def put(self, path: Path, name: str, digest: str) -> None:
        """A file; a large one by pieces, of which those stay that came over before the line broke."""
        size = path.stat().st_size
        if size <= _PIECE:
            self._session.put(path.read_bytes(), f"{self.place}/{name}")
            return
        pieces = f"{_PIECES}/{digest}"
        sizes = {entry.path: entry.size for entry in self._session.walk(f"{self.place}/{pieces}") or []}
        with path.open("rb") as file:
            for number in range(math.ceil(size / _PIECE)):
                if sizes.get(f"{number:06d}") == min(_PIECE, size - number * _PIECE):
                    continue
                file.seek(number * _PIECE)
                self._session.put(file.read(_PIECE), f"{self.place}/{pieces}/{number:06d}")
        self._do(_PUT_TOGETHER, self.place, name, pieces)

    def _do(self, script: str, *words: str) -> None:
        done = self._session.run(["sh", "-c", script, "labctl", *words], timeout=_WORK_S)
        if done.code:
            raise TransferError(
                f"{self._host.name}: the bundle could not be brought to {words[0]}: {done.err.strip()[-300:]}"
            )
