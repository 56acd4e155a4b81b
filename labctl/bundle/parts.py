"""The folder of a bundle: files in parts of a chosen size, their list (bundle.json) and their checksums (SHA256SUMS).

SHA256SUMS is written last and taken away first: a folder without it is not whole. What is in place is listed in
bundle.json after each file, so that a second run goes on where the first was killed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from labctl.errors import TransferError, UsageError
from labctl.runner import rundir

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

SCHEMA = 1
LIST = "bundle.json"
SUMS = "SHA256SUMS"
# What may lie beside the parts.
CHECK, INSTALL = "check_bundle.py", "install-controller.sh"
LOOSE = (CHECK, INSTALL)
SMALLEST = 1000**2
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMG]I?B|B|)", re.IGNORECASE)
_PART = re.compile(r"part-[0-9]{2,}")
_INCOMING = ".incoming"
_BLOCK = 1 << 20


def size(text: str) -> int:
    """Bytes of ``45MB`` (45,000,000) or ``45MiB`` (47,185,920). Raises UsageError."""
    found = _SIZE.fullmatch(text.strip())
    amount = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if amount < SMALLEST:
        raise UsageError(f"a part of {text!r} cannot be: write 45MB (MB: 1,000,000 bytes) or 45MiB, at least 1MB")
    return amount


@dataclass(frozen=True)
class File:
    """A logical file: its checksum, its size, the pieces that it lies in (paths in the bundle), and what made it."""

    sha256: str
    size: int
    parts: tuple[str, ...]
    source: str = ""

    def row(self) -> dict[str, Any]:
        """As bundle.json has it."""
        row: dict[str, Any] = {"sha256": self.sha256, "size": self.size, "parts": list(self.parts)}
        return row | ({"source": self.source} if self.source else {})


@dataclass
class Parts:
    """A bundle's folder. ``files``: logical path -> File; ``most``: bytes of one part folder (None: one part)."""

    folder: Path
    most: int | None = None
    files: dict[str, File] = field(default_factory=dict)
    _sums: dict[str, str] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def incoming(self) -> Path:
        """Scratch for what is being downloaded, on the same file system."""
        return self.folder / _INCOMING

    def load(self) -> list[str]:
        """Take over what is whole from an earlier run; gives the names that were broken. Raises UsageError, OSError."""
        self._claim()
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / SUMS).unlink(missing_ok=True)
        shutil.rmtree(self.incoming, ignore_errors=True)
        self.incoming.mkdir(parents=True)
        broken = []
        for name, file in listed(self.folder).items():
            sums = _whole(self.folder, file)
            if sums is None:
                broken.append(name)
            else:
                self._keep(name, file, sums)
        self._sweep()
        self._refit()
        return broken

    def _claim(self) -> None:
        """Nothing of somebody else's is ever removed."""
        there = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
        if there - {_INCOMING} and LIST not in there:
            raise UsageError(f"{self.folder} holds something else than a bundle: name another folder with --output")

    def _keep(self, name: str, file: File, sums: Mapping[str, tuple[str, int]]) -> None:
        self.files[name] = file
        for piece, (digest, length) in sums.items():
            self._sums[piece], self._sizes[piece] = digest, length

    def _sweep(self) -> None:
        """Remove what no file in place refers to: pieces of a broken one, of one that was never listed."""
        for part in self._folders():
            for path in part.iterdir():
                if path.relative_to(self.folder).as_posix() not in self._sums:
                    path.unlink()

    def _refit(self) -> None:
        """Place anew what lies in folders that are larger than this run's parts may be."""
        if self.most is None:
            return
        for part in self._folders():
            while self._filled(part.name) > self.most:
                name = next(
                    n for n, file in self.files.items() if any(p.startswith(f"{part.name}/") for p in file.parts)
                )
                file = self.files[name]
                whole = self.incoming / "refit"
                with whole.open("wb") as target:
                    for piece in file.parts:
                        with (self.folder / piece).open("rb") as source:
                            shutil.copyfileobj(source, target, _BLOCK)
                self.drop(name)
                self.add(name, whole, source=file.source)

    def has(self, name: str, digests: Collection[str]) -> bool:
        """Whether a file with one of these checksums is in place."""
        return name in self.files and self.files[name].sha256 in digests

    def drop(self, name: str) -> None:
        """Remove a file."""
        for piece in self.files.pop(name).parts:
            (self.folder / piece).unlink(missing_ok=True)
            del self._sums[piece], self._sizes[piece]

    def only(self, names: Collection[str]) -> list[str]:
        """Drop what is not among the names; gives what was dropped."""
        stale = sorted(set(self.files) - set(names))
        for name in stale:
            self.drop(name)
        return stale

    def add(self, name: str, path: Path, *, source: str = "") -> None:
        """Move a finished file into the parts (over one of the same name). Raises OSError."""
        if name in self.files:
            self.drop(name)
        length, most = path.stat().st_size, self.most
        if most is None or length <= most:
            digest = rundir.sha256(path)
            piece = self._place(flat(name), length)
            path.replace(self.folder / piece)
            self._keep(name, File(digest, length, (piece,), source), {piece: (digest, length)})
        else:
            self._split(name, path, most, source)
        self._write()

    def _split(self, name: str, path: Path, most: int, source: str) -> None:
        whole, length = hashlib.sha256(), 0
        sums: dict[str, tuple[str, int]] = {}
        with path.open("rb") as reader:
            while data := reader.read(most):
                whole.update(data)
                length += len(data)
                piece = self._place(f"{flat(name)}.{len(sums) + 1:03d}", len(data))
                (self.folder / piece).write_bytes(data)
                sums[piece] = (hashlib.sha256(data).hexdigest(), len(data))
                self._sizes[piece] = len(data)
        self._keep(name, File(whole.hexdigest(), length, tuple(sums), source), sums)
        path.unlink()

    def _place(self, leaf: str, length: int) -> str:
        """A free path in the first part with room."""
        number = 1
        while True:
            part = f"part-{number:02d}"
            fits = self.most is None or self._filled(part) + length <= self.most
            if fits and f"{part}/{leaf}" not in self._sizes:
                (self.folder / part).mkdir(exist_ok=True)
                return f"{part}/{leaf}"
            number += 1

    def _filled(self, part: str) -> int:
        return sum(length for piece, length in self._sizes.items() if piece.startswith(f"{part}/"))

    def _folders(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if _PART.fullmatch(path.name) and path.is_dir())

    def _write(self, **more: Any) -> None:
        files = {name: self.files[name].row() for name in sorted(self.files)}
        told = {"schema": SCHEMA, **more, "files": files}
        rundir.write_atomic(self.folder / LIST, (json.dumps(told, indent=1) + "\n").encode())

    def finish(self, about: Mapping[str, Any], loose: Mapping[str, bytes]) -> None:
        """Write bundle.json and SHA256SUMS; ``loose``: files beside them. The bundle is whole then. Raises OSError."""
        for part in self._folders():
            if not any(part.iterdir()):
                part.rmdir()
        shutil.rmtree(self.incoming, ignore_errors=True)
        for name in set(LOOSE) - set(loose):
            (self.folder / name).unlink(missing_ok=True)
        for name, data in loose.items():
            rundir.write_atomic(self.folder / name, data)
        self._write(**about, made=datetime.now(UTC).isoformat(timespec="seconds"))
        sums = {name: rundir.sha256(self.folder / name) for name in (LIST, *loose)} | dict(sorted(self._sums.items()))
        text = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
        rundir.write_atomic(self.folder / SUMS, text.encode())

    def table(self) -> list[dict[str, Any]]:
        """One row a part: {"part", "files", "bytes"}."""
        pieces = {part.name: [p for p in self._sizes if p.startswith(f"{part.name}/")] for part in self._folders()}
        return [
            {"part": part, "files": len(inside), "bytes": sum(self._sizes[piece] for piece in inside)}
            for part, inside in pieces.items()
        ]


def flat(name: str) -> str:
    """The file name of a logical path in a part: a wheel's own, else its folders joined by two dashes."""
    return name.removeprefix("wheels/").replace("/", "--")


def about(folder: Path) -> dict[str, Any]:
    """bundle.json of a whole bundle. Raises TransferError where it is none, not whole, or of a newer labctl."""
    if not (folder / SUMS).is_file():
        why = "an interrupted `labctl bundle`: run it again" if (folder / LIST).is_file() else "no bundle"
        raise TransferError(f"{folder} is {why} ({SUMS} is missing)")
    try:
        told = json.loads((folder / LIST).read_text(encoding="utf-8"))
        schema = told["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TransferError(f"{folder / LIST} cannot be read: {error}") from error
    if schema != SCHEMA:
        raise TransferError(f"{folder / LIST} has schema {schema!r}; this labctl reads {SCHEMA}: use a newer labctl")
    return dict(told)


def listed(folder: Path) -> dict[str, File]:
    """The files of bundle.json; none where there is nothing readable."""
    try:
        told = json.loads((folder / LIST).read_text(encoding="utf-8"))
        rows = told["files"].items() if told["schema"] == SCHEMA else ()
        return {
            name: File(row["sha256"], row["size"], tuple(row["parts"]), row.get("source", "")) for name, row in rows
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _whole(folder: Path, file: File) -> dict[str, tuple[str, int]] | None:
    """{piece: (its checksum, its size)} where the pieces make up the file; else None."""
    whole, sums = hashlib.sha256(), {}
    for piece in file.parts:
        own, length = hashlib.sha256(), 0
        try:
            with (folder / piece).open("rb") as reader:
                while data := reader.read(_BLOCK):
                    own.update(data)
                    whole.update(data)
                    length += len(data)
        except OSError:
            return None
        sums[piece] = (own.hexdigest(), length)
    return sums if whole.hexdigest() == file.sha256 else None
