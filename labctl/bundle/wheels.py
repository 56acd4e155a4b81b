"""The wheels that another machine's Python takes: its tags, and pip, which downloads what a lock names.

pip does it (``pip download``), not uv, which has no such command: it follows this machine's own configuration
(index, find-links, certificates) and checks each hash. labctl's environment need not hold one: uv fetches it.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from labctl import assets
from labctl.errors import TransferError
from labctl.runner import rundir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from labctl.locks import Entry

# 25.1 is the first that goes on with a broken download by itself.
_PIP = "pip>=25.1"
_OLDEST_GLIBC = 5  # manylinux1
# What every wheel of the locks runs on, for facts that do not tell.
_COMMON_GLIBC = "2.28"
# PEP 513, 571, 599: names from before the version of glibc stood in the tag.
_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_AT_ONCE = 4
_TOGETHER = 4  # entries of one pip: each start of it costs half a second
_NO_WHEEL = "No matching distribution found"
_NO_ROOM = "No space left on device"


@dataclass(frozen=True)
class Target:
    """The Python that wheels are for: ``3.12`` on an ``x86_64`` with glibc ``2.36``."""

    python: str
    arch: str
    glibc: str

    def platforms(self) -> list[str]:
        """Every platform tag, best first; pip takes each literally, so that all must be named."""
        major, minor = (int(part) for part in self.glibc.split(".")[:2])
        found = []
        for old in range(minor, _OLDEST_GLIBC - 1, -1):
            found.append(f"manylinux_{major}_{old}_{self.arch}")
            if old in _OLD_NAMES:
                found.append(f"{_OLD_NAMES[old]}_{self.arch}")
        return [*found, f"linux_{self.arch}"]

    def tags(self) -> frozenset[Tag]:
        """Every tag that this Python takes."""
        major, minor = (int(part) for part in self.python.split("."))
        own, platforms = f"cp{major}{minor}", self.platforms()
        exact = cpython_tags((major, minor), abis=[own], platforms=platforms)
        return frozenset([*exact, *compatible_tags((major, minor), interpreter=own, platforms=platforms)])


def glibc(told: object) -> str:
    """``2.36`` out of what facts tell; every version below it becomes a tag, so that no wild one is taken."""
    found = re.match(r"2\.[0-9]{1,2}(?![0-9])", str(told))
    return found[0] if found else _COMMON_GLIBC


def digests(entry: Entry) -> frozenset[str]:
    """The sha256 of each file that a lock's entry allows."""
    return frozenset(one.removeprefix("sha256:") for one in entry.hashes)


def fits(wheel: str, entry: Entry, tags: frozenset[Tag]) -> bool:
    """Whether a wheel's file name is that of an entry, for one of the tags."""
    try:
        name, version, _, own = parse_wheel_filename(wheel)
    except InvalidWheelFilename:
        return False
    return name == entry.name and str(version) == entry.version and bool(own & tags)


class Downloads:
    """pip with a folder of its own. ``more``: an index for what no other has."""

    def __init__(self, scratch: Path, target: Target, more: str) -> None:
        """``scratch``: an empty folder, on the file system where the wheels shall lie."""
        self._scratch, self._target, self._more = scratch, target, more
        self._tags = target.tags()

    def fetch(self, wanted: Sequence[Entry]) -> Iterator[Path]:
        """Yield the wheel of each entry, as it comes. Raises TransferError naming what could not be had."""
        if not wanted:
            return
        pip = self._pip()
        chunks = [wanted[i : i + _TOGETHER] for i in range(0, len(wanted), _TOGETHER)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            jobs = [pool.submit(self._chunk, pip, number, chunk) for number, chunk in enumerate(chunks)]
            try:
                for job in as_completed(jobs):
                    yield from job.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _pip(self) -> Path:
        """A pip, fetched by uv under this machine's pip configuration; an environment made by uv holds none."""
        folder = self._scratch / "pip"
        translate = assets.folder("ansible") / "roles" / "python_env" / "files" / "pip_to_uv.py"
        uv = [sys.executable, str(translate), str(Path(sys.executable).with_name("uv"))]
        # No cache: labctl leaves nothing in the home directory.
        done = _run(
            [*uv, "pip", "install", "--quiet", "--no-cache", "--target", str(folder), "--python", sys.executable, _PIP]
        )
        self._room(done)
        if done.returncode:
            raise TransferError(f"no index could be asked for pip, which downloads the wheels: {_end(done.stderr)}")
        return folder / "pip"

    def _chunk(self, pip: Path, number: int, chunk: Sequence[Entry]) -> list[Path]:
        folder = self._scratch / f"{number:03d}"
        said = self._download(pip, folder, chunk)
        if said is not None:
            # One of them has none: which, and is there another place for it?
            for entry in chunk:
                self._alone(pip, folder, entry)
        wheels = list(folder.glob("*.whl"))
        return [self._own(entry, wheels) for entry in chunk]

    def _alone(self, pip: Path, folder: Path, entry: Entry) -> None:
        said = self._download(pip, folder, [entry])
        # Where pip's own places lack a build (a local version: torch's for CPU), its maker's index may have it.
        if said is not None and _NO_WHEEL in said and "+" in entry.version and self._more:
            said = self._download(pip, folder, [entry], "--extra-index-url", self._more)
        if said is None:
            return
        if _NO_WHEEL in said:
            where = f"Python {self._target.python}, {self._target.arch}, glibc {self._target.glibc}"
            raise TransferError(
                f"no index or folder of pip's has the locked wheel of {entry.name} {entry.version} for {where}"
            )
        raise TransferError(f"pip could not download {entry.name} {entry.version}: {_end(said)}")

    def _download(self, pip: Path, folder: Path, chunk: Sequence[Entry], *more: str) -> str | None:
        """Fill the folder; gives what pip said where it failed. Raises OSError for a full disk."""
        folder.mkdir(exist_ok=True)
        asked = folder / "asked.txt"
        asked.write_text("".join(entry.text() for entry in chunk), encoding="utf-8")
        command = [sys.executable, str(pip), "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--require-hashes", "--implementation", "cp", "--python-version", self._target.python]
        command += [word for platform in self._target.platforms() for word in ("--platform", platform)]
        done = _run([*command, "--dest", str(folder), "--requirement", str(asked), *more])
        self._room(done)
        return done.stderr if done.returncode else None

    def _room(self, done: subprocess.CompletedProcess[str]) -> None:
        """Raise OSError for what failed because the disk is full: labctl's exit code for that is another."""
        if done.returncode and _NO_ROOM in done.stderr:
            raise OSError(errno.ENOSPC, _NO_ROOM, str(self._scratch))

    def _own(self, entry: Entry, wheels: list[Path]) -> Path:
        for wheel in wheels:
            if fits(wheel.name, entry, self._tags) and rundir.sha256(wheel) in digests(entry):
                return wheel
        raise TransferError(
            f"pip downloaded no wheel of {entry.name} {entry.version} that Python {self._target.python} takes"
        )


def missing(
    wanted: Sequence[Entry], target: Target, names: Sequence[str], has: Callable[[str, frozenset[str]], bool]
) -> tuple[list[Entry], list[str]]:
    """(entries of which no wheel is here, names of the wheels that are); ``has(name, checksums)`` knows the place."""
    tags, lacking, there = target.tags(), [], []
    for entry in wanted:
        own = [name for name in names if fits(name.rpartition("/")[2], entry, tags) and has(name, digests(entry))]
        there += own[:1]
        if not own:
            lacking.append(entry)
    return lacking, there


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "UV_NO_PROGRESS": "1"}
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, check=False)


def _end(said: str) -> str:
    """The last of what a program said, without names or tokens in addresses."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("WARNING")]
    return re.sub("//[^/@]*@", "//", " ".join(lines[-3:]))[-500:]
