"""labctl itself for a machine that nothing can be downloaded on: its own wheel, its lock, and a script that installs.

The wheel comes out the same from a checkout and from an installed labctl: package, bundled folders, dependencies.
"""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from labctl import __version__, assets, runner_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = "controller"
SCRIPT = "install-controller.sh"
LOCK = f"{FOLDER}/requirements.lock"
# In a checkout beside the package; in a wheel below it.
_BUNDLED = ("ansible", "images", "requirements.lock")
_METADATA = """Metadata-Version: 2.1
Name: labctl
Version: {version}
Summary: A reproducible lab for vLLM, from a bare host to evidence in one line
License: Apache-2.0
Requires-Python: >=3.11
{requires}"""
_SCRIPTS = "[console_scripts]\nlabctl = labctl.cli:main\n"
_LEFT_OUT = {"__pycache__", ".ansible", "collections", "molecule", "_bundled"}


def lock() -> str:
    """requirements.lock: labctl's own packages. Raises FileNotFoundError where labctl was installed without."""
    return (_beside() / "requirements.lock").read_text(encoding="utf-8")


def _beside() -> Path:
    """The folder that holds ``ansible``, and what else travels with labctl."""
    return assets.folder("ansible").parent


def wheel(into: Path) -> Path:
    """Write labctl's own wheel into a folder and give its path. Raises OSError."""
    files = {f"labctl/{path.as_posix()}": (assets.PACKAGE / path).read_bytes() for path in _files(assets.PACKAGE)}
    for name in _BUNDLED:
        place = _beside() / name
        inside = (
            {place: name} if place.is_file() else {place / path: f"{name}/{path.as_posix()}" for path in _files(place)}
        )
        files |= {f"labctl/_bundled/{target}": source.read_bytes() for source, target in inside.items()}
    requires = "".join(f"Requires-Dist: {one}\n" for one in _requires())
    info = {"METADATA": _METADATA.format(version=__version__, requires=requires), "entry_points.txt": _SCRIPTS}
    return runner_wheel.write(into, "labctl", __version__, dict(sorted(files.items())), info)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not _LEFT_OUT & set(relative.parts):
            yield relative


def _requires() -> list[str]:
    """What labctl depends on; a checkout's own file may be newer than what was installed from it."""
    project = assets.PACKAGE.parent / "pyproject.toml"
    if project.is_file():
        return list(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"])
    return metadata.requires("labctl") or []


def script(python: str) -> bytes:
    """install-controller.sh for a bundle whose controller runs on this Python (``3.11``)."""
    text = (Path(__file__).with_name("install-controller.sh")).read_text(encoding="utf-8")
    return text.replace("@PYTHON@", python).encode()
