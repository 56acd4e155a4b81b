"""The wheel of the lab program: the runner alone, without dependencies, the same bytes from the same content.

``write`` makes any pure wheel so; a bundle's controller is one more.

The version carries the checksum of the content, so that an installer never keeps an old program under an
unchanged version. Format: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from functools import cache
from typing import TYPE_CHECKING

from labctl import __version__
from labctl.assets import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = "labctl_runner"
# Zip knows no earlier time; any fixed one makes the bytes depend on the content alone.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_METADATA = """Metadata-Version: 2.1
Name: labctl-runner
Version: {version}
Summary: The lab program of labctl, which runs on the host
License: Apache-2.0
Requires-Python: >=3.11
"""
_WHEEL = """Wheel-Version: 1.0
Generator: labctl ({version})
Root-Is-Purelib: true
Tag: py3-none-any
"""


def contents() -> dict[str, bytes]:
    """Sorted {path in the wheel: bytes} of what the host gets: labctl/__init__.py and labctl/runner/**."""
    paths = [PACKAGE / "__init__.py", *(PACKAGE / "runner").rglob("*")]
    kept = [path for path in paths if path.is_file() and "__pycache__" not in path.parts]
    named = {path.relative_to(PACKAGE.parent).as_posix(): path.read_bytes() for path in kept}
    return dict(sorted(named.items()))


def checksum(files: dict[str, bytes]) -> str:
    """Hex sha256 over the names and bytes of the files, in their order."""
    digest = hashlib.sha256()
    for name, data in files.items():
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


@cache
def version() -> str:
    """Version of the runner that lies here: ``0.1.0+r`` and 10 hex digits of its content's sha256."""
    return f"{__version__}+r{checksum(contents())[:10]}"


def build(into: Path) -> Path:
    """Write the wheel into a folder, which is made if need be, and give its path. Raises OSError."""
    files = contents()
    number = f"{__version__}+r{checksum(files)[:10]}"
    return write(into, NAME, number, files, {"METADATA": _METADATA.format(version=number)})


def write(into: Path, name: str, number: str, files: Mapping[str, bytes], info: Mapping[str, str]) -> Path:
    """Write a pure wheel: its ``files``, and METADATA and what else is told in its dist-info. Raises OSError."""
    place = f"{name}-{number}.dist-info"
    inside = {**files, **{f"{place}/{leaf}": text.encode() for leaf, text in info.items()}}
    inside[f"{place}/WHEEL"] = _WHEEL.format(version=__version__).encode()
    inside[f"{place}/RECORD"] = _record(inside, f"{place}/RECORD")
    into.mkdir(parents=True, exist_ok=True)
    wheel = into / f"{name}-{number}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in inside.items():
            archive.writestr(_entry(path), data)
    return wheel


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    return entry


def _record(files: dict[str, bytes], own: str) -> bytes:
    rows = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        rows.append(f"{name},sha256={digest},{len(data)}")
    return ("\n".join([*rows, f"{own},,"]) + "\n").encode()
