"""Take apart what a bundle brings, with nothing but a Python 3.8: no pip, no venv module, no tar, no unzip.

``unpack.py uv WHEELS TARGET``: the program uv of its wheel becomes TARGET/bin/uv.
``unpack.py python FOLDER TARGET``: the one archive of a Python in FOLDER becomes TARGET (TARGET/bin/python3 runs).
``unpack.py models FOLDER TARGET``: each model folder that TARGET lacks is hard-linked or copied there, and told.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path


def uv(wheels: Path, target: Path) -> None:
    """Raises LookupError where the bundle brings no uv, OSError, zipfile.BadZipFile."""
    wheel = only(wheels, "uv-*.whl")
    program = target / "bin" / "uv"
    program.parent.mkdir(parents=True, exist_ok=True)
    part = program.with_name("uv.part")
    with zipfile.ZipFile(wheel) as archive:
        inside = next((name for name in archive.namelist() if name.endswith(".data/scripts/uv")), None)
        if inside is None:
            raise LookupError(f"{wheel.name} holds no program uv")
        with archive.open(inside) as source, part.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    part.chmod(0o755)
    part.replace(program)


def python(folder: Path, target: Path) -> None:
    """Unpack a standalone build. Raises LookupError where there is not exactly one, OSError, tarfile.TarError."""
    archive = only(folder, "*.tar*")
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with tarfile.open(archive) as packed:
        # The filter came with Python 3.12, and with the security releases of 3.8 to 3.11.
        if hasattr(tarfile, "data_filter"):
            packed.extraction_filter = tarfile.data_filter
        packed.extractall(part)  # noqa: S202 - checked against the bundle's sums before
    (inner,) = part.iterdir()
    shutil.rmtree(target, ignore_errors=True)
    inner.replace(target)
    part.rmdir()


def models(folder: Path, target: Path) -> None:
    """Place what is not there yet; a folder appears whole or not at all. Raises OSError."""
    target.mkdir(parents=True, exist_ok=True)
    for source in sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else ():
        if not (target / source.name).exists():
            part = target / f".{source.name}.part"
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(source, part, copy_function=place)
            part.replace(target / source.name)
            sys.stdout.write(f"{source.name}\n")


def place(source: str, target: str) -> str:
    """Hard-link, or copy where the file system is another or has no links."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copy2(source, target)
    return target


def only(folder: Path, pattern: str) -> Path:
    """The one file of that name. Raises LookupError."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise LookupError(f"the bundle should bring one {pattern} in {folder}, and brings {len(found)}")
    return found[0]


def main(kind: str, source: str, target: str) -> None:
    """Do it, or exit 1 with a sentence."""
    try:
        {"uv": uv, "python": python, "models": models}[kind](Path(source), Path(target))
    except (LookupError, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        sys.exit(f"{kind} of the bundle could not be unpacked: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
