"""labctl's own wheel, as a bundle brings it."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from packaging.metadata import Metadata

from labctl import __version__
from labctl.bundle import controller

if TYPE_CHECKING:
    from pathlib import Path


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = controller.wheel(tmp_path / "one"), controller.wheel(tmp_path / "two")
    assert one.name == two.name == f"labctl-{__version__}-py3-none-any.whl"
    assert one.read_bytes() == two.read_bytes()


def test_it_holds_what_an_installed_labctl_needs(tmp_path: Path) -> None:
    with zipfile.ZipFile(controller.wheel(tmp_path)) as archive:
        names = set(archive.namelist())
        info = f"labctl-{__version__}.dist-info"
        metadata = Metadata.from_email(archive.read(f"{info}/METADATA"))
        scripts = archive.read(f"{info}/entry_points.txt").decode()
    assert {
        "labctl/cli.py",
        "labctl/_bundled/ansible/playbooks/provision.yml",
        "labctl/_bundled/requirements.lock",
    } < names
    assert {"labctl/bundle/install-controller.sh", "labctl/labs/offline.toml", "labctl/runner/probe.py"} < names
    assert not [name for name in names if "__pycache__" in name]
    assert scripts == "[console_scripts]\nlabctl = labctl.cli:main\n"
    required = {one.name for one in metadata.requires_dist or []}
    assert {"ansible", "fabric", "typer", "uv"} <= required


def test_its_lock_is_the_projects_own() -> None:
    assert "ansible==" in controller.lock()


def test_the_script_is_for_one_python() -> None:
    text = controller.script("3.12").decode()
    assert "version=3.12\n" in text
    assert "@PYTHON@" not in text
