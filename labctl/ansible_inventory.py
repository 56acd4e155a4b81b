"""How Ansible's programs are called, and what `ansible-inventory` said, kept until a file changes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from labctl import assets
from labctl.errors import HostUnknownError


def state(inventory: Path) -> Path:
    """Give the project's folder ``.labctl``, where labctl keeps what it may lose."""
    return inventory.parent / ".labctl"


def environment(inventory: Path) -> dict[str, str]:
    """Variables for Ansible's programs: our configuration, and nothing of theirs in the home directory."""
    cache = state(inventory) / "cache" / "ansible"
    return {
        **os.environ,
        "ANSIBLE_CONFIG": str(assets.folder("ansible") / "ansible.cfg"),
        "ANSIBLE_HOME": str(cache),
        "ANSIBLE_LOCAL_TEMP": str(cache / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORCE_COLOR": "0",
    }


def sources(inventory: Path) -> list[str]:
    """Arguments that name the inventories: labctl's pins first, so that what a host says itself wins."""
    return ["-i", str(assets.folder("ansible") / "pins.ini"), "-i", str(inventory)]


def answer(inventory: Path) -> dict[str, Any]:
    """The JSON of ``ansible-inventory --list``, kept or asked anew (a second). Raises HostUnknownError."""
    key = _key(inventory)
    name = sha256(str(inventory).encode()).hexdigest()[:10]
    kept = state(inventory) / "cache" / f"inventory-{name}.json"
    found = _recall(kept, key) if key else None
    if found is None:
        found = _ask(inventory)
        if key:
            _keep(kept, key, found)
    return found


def _ask(inventory: Path) -> dict[str, Any]:
    program = str(Path(sys.executable).with_name("ansible-inventory"))
    variables = {**environment(inventory), "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1"}
    command = [program, *sources(inventory), "--list"]
    try:
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        found = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError) as error:
        raise HostUnknownError(f"{inventory} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise HostUnknownError(f"{inventory} cannot be read: {reason(done.stderr)}")
    return found


def reason(stderr: str) -> str:
    """What `ansible-inventory` complains of, in one line: its first error, else the end of its output."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("[ERROR]") or "Failed to parse inventory: " in line]
    first = (errors or lines[-1:] or ["ansible-inventory said nothing"])[0]
    return re.sub(r"^\[\w+\]: |Failed to parse inventory with '\w+' plugin: ", "", first)[:500]


def _key(inventory: Path) -> str | None:
    """Digest of each file's path, mtime and size; None for an inventory that is computed at each call."""
    computed = os.access(inventory, os.X_OK) or inventory.suffix in (".yml", ".yaml", ".py")
    if not inventory.is_file() or computed:
        return None
    ansible = assets.folder("ansible")
    files = [inventory, ansible / "pins.ini", ansible / "ansible.cfg"]
    for folder in (ansible, inventory.parent):
        for kind in ("group_vars", "host_vars"):
            files += sorted(path for path in (folder / kind).rglob("*") if path.is_file())
    stats = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files]
    return sha256(json.dumps([sys.prefix, stats]).encode()).hexdigest()


def _recall(kept: Path, key: str) -> dict[str, Any] | None:
    try:
        data = json.loads(kept.read_text(encoding="utf-8"))
        found = data["answer"] if data["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def _keep(kept: Path, key: str, found: dict[str, Any]) -> None:
    """Write with mode 0600 (variables may hold passwords); a folder that is read-only costs only time."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=kept.parent, delete=False, encoding="utf-8") as scratch:
            json.dump({"key": key, "answer": found}, scratch)
        Path(scratch.name).replace(kept)
    except OSError:
        return
