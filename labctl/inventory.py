"""Host: a machine named in the inventory, which Ansible itself reads for us."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labctl import ansible_inventory
from labctl.errors import HostUnknownError

NAME = "inventory.ini"
MAKE_ONE = f"echo 'local ansible_connection=local' > {NAME}"
# Where the lab lies unless the inventory says: below the project directory, or below the remote home.
LOCAL_LAB = ".labctl/local"
REMOTE_LAB = "labctl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine: ``connection`` is ``local``, ``ssh`` or another of Ansible's.

    ``lab_dir``: absolute for a local host; for a remote one as written (a relative one lies below its home).
    ``user`` and ``port``: None where the inventory does not say. ``vars``: every inventory variable; they may
    hold a password, so they stay out of the repr.
    """

    name: str
    connection: str
    lab_dir: str
    address: str
    user: str | None = None
    port: int | None = None
    vars: dict[str, Any] = field(default_factory=dict, repr=False)


def find(start: Path | None = None) -> Path:
    """Give LABCTL_INVENTORY, or the nearest inventory.ini from ``start`` (default: here) upwards.

    Its folder is the project directory. Raises HostUnknownError.
    """
    named = os.environ.get("LABCTL_INVENTORY")
    if named:
        if not Path(named).exists():
            what = f"LABCTL_INVENTORY names {named}, which does not exist"
            raise HostUnknownError(what, "unset LABCTL_INVENTORY")
        return Path(named).resolve()
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / NAME).is_file():
            return folder / NAME
    what = f"there is no {NAME} in {here} or above it: go to your labctl checkout, or make one here"
    raise HostUnknownError(what, MAKE_ONE)


def hosts(inventory: Path) -> dict[str, Host]:
    """Every host of the inventory, in Ansible's order. Raises HostUnknownError where it cannot be read."""
    return parse(ansible_inventory.answer(inventory), inventory.parent)


def resolve(name: str, inventory: Path | None = None) -> Host:
    """Give the host of this name. Raises HostUnknownError naming the hosts that exist."""
    inventory = inventory or find()
    known = hosts(inventory)
    if name not in known:
        names = ", ".join(known) or "none"
        raise HostUnknownError(f"{inventory} has no host {name!r}; it has: {names}", "labctl hosts")
    return known[name]


def parse(answer: dict[str, Any], project: Path) -> dict[str, Host]:
    """Hosts from the JSON of ``ansible-inventory --list``. Raises HostUnknownError for an odd value."""
    values = answer.get("_meta", {}).get("hostvars", {})
    names = [name for group in answer.values() for name in group.get("hosts", [])]
    return {name: _host(name, values.get(name, {}), project) for name in dict.fromkeys([*names, *values])}


def _host(name: str, values: dict[str, Any], project: Path) -> Host:
    connection = str(values.get("ansible_connection", "ssh"))
    local = connection == "local"
    lab_dir = str(values.get("lab_dir") or (LOCAL_LAB if local else REMOTE_LAB))
    address, port = str(values.get("ansible_host") or name), values.get("ansible_port")
    for option, value in (("lab_dir", lab_dir), ("ansible_host", address), ("ansible_port", str(port))):
        if "{{" in value:
            what = f"host {name}: {option} is a template ({value}); labctl needs it written out"
            raise HostUnknownError(what)
    if port is not None and not str(port).isdecimal():
        raise HostUnknownError(f"host {name}: ansible_port must be a number, not {port!r}")
    return Host(
        name=name,
        connection="ssh" if connection in ("smart", "paramiko") else connection,
        lab_dir=str(project / Path(lab_dir).expanduser()) if local else lab_dir,
        address=address,
        user=values.get("ansible_user"),
        port=None if port is None else int(port),
        vars=values,
    )
