"""Where the folders that travel with labctl lie: beside the package in a checkout, else inside it."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder ``ansible`` or ``images``. Raises FileNotFoundError where labctl was installed without."""
    checkout = PACKAGE.parent
    in_checkout = (checkout / "pyproject.toml").is_file()
    found = checkout / name if in_checkout else PACKAGE / "_bundled" / name
    if not found.is_dir():
        raise FileNotFoundError(f"labctl was installed without its folder {name}: {found} is missing")
    return found
