"""Whether a run directory still holds what its host sealed: SHA256SUMS against the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.errors import UnreadableRunError
from labctl.runner import rundir

if TYPE_CHECKING:
    from pathlib import Path

# Of a file's path in a run; every file system takes as many.
_NAME_BYTES = 255


def is_plain(name: str) -> bool:
    """Whether a path that a host names lies within a run, in the host's part of it, on any file system."""
    parts = name.split("/")
    if {"", ".", ".."} & set(parts) or parts[0].casefold() in rundir.UNSEALED:
        return False
    return name.isprintable() and "\\" not in name and len(name.encode()) <= _NAME_BYTES


def manifest(path: Path) -> dict[str, str]:
    """{relative path: sha256} of a run directory. Raises UnreadableRunError."""
    try:
        sums = rundir.manifest((path / rundir.SUMS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        said = f"{path.name} is not sealed: it goes on, or was not fetched whole"
        raise UnreadableRunError(said, f"labctl attach {path.name}") from None
    except (OSError, ValueError) as error:
        raise UnreadableRunError(f"{path}: {error}") from error
    for name in sums:
        if not is_plain(name):
            raise UnreadableRunError(f"{path}: {rundir.SUMS} names the unsafe path {name!r}")
    return sums


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
