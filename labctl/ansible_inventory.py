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
from typing import IO, Any

from labctl import assets
from labctl.errors import HostUnknownError

# Patterns whose hosts are kept, the newest: scripts may make up a new pattern each time.
PATTERNS = 64
# Settings that would make Ansible's connection another one than labctl's own, which follows ~/.ssh/config alone, or
# make every task root's. The rest of the user's ANSIBLE_* (vault passwords, verbosity) stays.
_CONNECTION = re.compile("ANSIBLE_(SSH|SFTP|SCP|BECOME|PRIVATE_KEY|REMOTE|HOST_KEY|TRANSPORT|TIMEOUT|PIPELINING)")


class PatternError(Exception):
    """Ansible refused a host pattern: ``unmatched`` is the part that fits nothing, or empty for another reason."""

    def __init__(self, reason: str) -> None:
        """``reason``: Ansible's own words."""
        super().__init__(reason)
        _, known, part = reason.partition("Could not match supplied host pattern, ignoring: ")
        self.unmatched = part if known else ""


def state(inventory: Path) -> Path:
    """Give the project's folder ``.labctl``, where labctl keeps what it may lose."""
    return inventory.parent / ".labctl"


def environment(inventory: Path) -> dict[str, str]:
    """Variables for Ansible's programs: our configuration, and nothing of theirs in the home directory."""
    cache = state(inventory) / "cache" / "ansible"
    return {
        **{name: value for name, value in os.environ.items() if not _CONNECTION.match(name)},
        "ANSIBLE_CONFIG": str(assets.folder("ansible") / "ansible.cfg"),
        "ANSIBLE_HOME": str(cache),
        "ANSIBLE_LOCAL_TEMP": str(cache / "tmp"),
        # The module lab_facts is the probe itself.
        "ANSIBLE_MODULE_UTILS": str(Path(__file__).with_name("runner")),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORCE_COLOR": "0",
    }


def sources(inventory: Path) -> list[str]:
    """Arguments that name the inventories: labctl's pins first, so that what a host says itself wins."""
    return ["-i", str(assets.folder("ansible") / "pins.ini"), "-i", str(inventory)]


def answer(inventory: Path) -> dict[str, Any]:
    """The JSON of ``ansible-inventory --list``, kept or asked anew (a second). Raises HostUnknownError."""
    key = _key(inventory)
    kept = _recall(inventory, key)
    if kept is None:
        found, why = _ask(inventory)
        if found is None:
            raise HostUnknownError(f"{inventory} cannot be read: {why}")
        kept = {"key": key, "answer": found, "patterns": {}}
        _keep(inventory, kept)
    return dict(kept["answer"])


def matching(inventory: Path, pattern: str) -> list[str]:
    """Names of the hosts that ``ansible --limit PATTERN`` takes, kept beside ``answer`` or asked anew.

    Raises PatternError where Ansible refuses the pattern or a part of it fits neither host nor group.
    """
    # A pattern may name a file of hosts (@FILE), which may change unseen.
    key = None if "@" in pattern else _key(inventory)
    kept = _recall(inventory, key)
    if kept and pattern in kept["patterns"]:
        return list(kept["patterns"][pattern])
    found, why = _ask(inventory, f"--limit={pattern}")
    if found is None:
        raise PatternError(why)
    # Read again: another labctl may have written meanwhile. What is lost between here and there costs only time.
    kept = _recall(inventory, key)
    if kept:
        patterns = list({**kept["patterns"], pattern: names(found)}.items())
        _keep(inventory, {**kept, "patterns": dict(patterns[-PATTERNS:])})
    return names(found)


def names(answer: dict[str, Any]) -> list[str]:
    """Hosts of an answer, in the order in which Ansible takes them: of a level of groups before the next level's."""
    groups = ["all"]
    for group in groups:
        groups += [child for child in answer.get(group, {}).get("children", []) if child not in groups]
    grouped = [host for group in [*groups, *answer] for host in answer.get(group, {}).get("hosts", [])]
    return list(dict.fromkeys([*grouped, *answer.get("_meta", {}).get("hostvars", {})]))


def _ask(inventory: Path, *options: str) -> tuple[dict[str, Any] | None, str]:
    """Give (the answer of ``ansible-inventory --list``, "") or (None, what it complained of)."""
    program = str(Path(sys.executable).with_name("ansible-inventory"))
    strict = {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1", "ANSIBLE_HOST_PATTERN_MISMATCH": "error"}
    command = [program, *sources(inventory), "--list", *options]
    variables = {**environment(inventory), **strict}
    try:
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        found = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError) as error:
        return None, str(error)
    return (found, "") if isinstance(found, dict) else (None, reason(done.stderr))


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


def _kept(inventory: Path) -> Path:
    return state(inventory) / "cache" / f"inventory-{sha256(str(inventory).encode()).hexdigest()[:10]}.json"


def _recall(inventory: Path, key: str | None) -> dict[str, Any] | None:
    """What was kept under this key: {"key", "answer", "patterns": names of hosts by pattern}, else None."""
    if key is None:
        return None
    try:
        data = json.loads(_kept(inventory).read_text(encoding="utf-8"))
        whole = data["key"] == key and isinstance(data["answer"], dict) and isinstance(data["patterns"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(data) if whole else None


def _keep(inventory: Path, data: dict[str, Any]) -> None:
    """Write with mode 0600 (variables may hold passwords); a folder that is read-only costs only time."""
    if data["key"] is None:
        return
    kept = _kept(inventory)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=kept.parent, delete=False, encoding="utf-8") as scratch:
            _fill(Path(scratch.name), scratch, data)
        Path(scratch.name).replace(kept)
    except OSError:
        return


def _fill(path: Path, file: IO[str], data: dict[str, Any]) -> None:
    """Write all of it, or leave no half file behind. Raises OSError."""
    try:
        json.dump(data, file)
        file.flush()
    except OSError:
        path.unlink(missing_ok=True)
        raise
