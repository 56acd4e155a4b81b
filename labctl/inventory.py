"""Host: a machine named in the inventory, which Ansible itself reads for us."""

from __future__ import annotations

import os
import re
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
# Names in an error message, before it says "and N more".
SHOWN = 20
# What Ansible takes for this machine though no inventory names it, and drops again under --limit, saying nothing.
_IMPLICIT = {"localhost", "127.0.0.1", "::1"}

# Variables that steer Ansible's connection alone, by the line of ~/.ssh/config that steers labctl's own one too.
IN_SSH_CONFIG = {
    "IdentityFile {value}": ("ansible_ssh_private_key_file", "ansible_private_key_file"),
    "IdentityFile /path/to/key": (
        *("ansible_ssh_private_key", "ansible_private_key"),
        *("ansible_password", "ansible_ssh_pass", "ansible_ssh_password"),
    ),
    "(as options, one a line: {value})": (
        *("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"),
        *("ansible_scp_extra_args", "ansible_sftp_extra_args"),
    ),
    "ConnectTimeout {value}": ("ansible_ssh_timeout", "ansible_timeout"),
    "PKCS11Provider {value}": ("ansible_ssh_pkcs11_provider",),
}
# Variables that nothing stands for, by the reason.
NOT_TAKEN = {
    "a host's key is always checked (`labctl hosts trust {name}` learns a new one)": (
        *("ansible_host_key_checking", "ansible_ssh_host_key_checking"),
    ),
    "the program that comes first on PATH is taken": (
        *("ansible_ssh_executable", "ansible_scp_executable", "ansible_sftp_executable"),
    ),
    "labctl makes sockets of its own": ("ansible_control_path", "ansible_control_path_dir"),
    "labctl works as the user who logs in, and takes sudo for system packages only": ("ansible_become",),
}


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
    """Give the host of this name.

    Raises HostUnknownError naming the hosts that exist, or what of this host's variables cannot be.
    """
    inventory = inventory or find()
    known = hosts(inventory)
    if name not in known:
        raise HostUnknownError(f"{inventory} has no host {name!r}; it has: {_listed(list(known))}", "labctl hosts")
    return _usable(known[name], inventory)


def select(pattern: str, inventory: Path | None = None) -> list[Host]:
    """Give the hosts that ``ansible --limit PATTERN`` takes, in the inventory's order; at least one.

    Raises HostUnknownError where a part of the pattern fits nothing (no host is left out silently), or for what
    of a chosen host's variables cannot be.
    """
    inventory = inventory or find()
    answer = ansible_inventory.answer(inventory)
    known = parse(answer, inventory.parent)
    names = {pattern} if pattern in known else set(_matching(pattern, inventory, answer))
    return [_usable(host, inventory) for name, host in known.items() if name in names]


def _matching(pattern: str, inventory: Path, answer: dict[str, Any]) -> list[str]:
    """Names for a pattern that is no host's name. Raises HostUnknownError."""
    try:
        why = _nothing(pattern, answer)
        names = [] if why else ansible_inventory.matching(inventory, pattern)
    except ansible_inventory.PatternError as error:
        names, why = [], f"no host or group fits {error.unmatched!r}" if error.unmatched else str(error)
    if names:
        return names
    why = why or f"no host fits {pattern!r}"
    named = "" if pattern in why else f" (in {pattern!r})"
    groups = sorted(set(answer) - {"_meta", "all", "ungrouped"})
    there = f"it has the hosts {_listed(ansible_inventory.names(answer))}"
    there += f" and the groups {_listed(groups)}" if groups else ""
    raise HostUnknownError(f"{inventory}: {why}{named}; {there}", "labctl hosts")


def _nothing(pattern: str, answer: dict[str, Any]) -> str:
    """Why a part of a pattern takes no host though Ansible would not complain, or an empty string."""
    parts = [part for part in re.split(r"[,:\s]+", pattern) if part]
    if not parts:
        return "an empty pattern names no host"
    known = ansible_inventory.names(answer)
    # A group without hosts is listed only as another one's child.
    children = {child for group in answer.values() for child in group.get("children", [])} - {"ungrouped"}
    for part in [*parts, pattern]:
        if part in _IMPLICIT and part not in known:
            return f"no host or group fits {part!r}"
        if part in children and not _members(part, answer):
            return f"the group {part!r} is empty"
    return ""


def _members(group: str, answer: dict[str, Any]) -> list[str]:
    inside = answer.get(group, {})
    return [
        *inside.get("hosts", []),
        *(name for child in inside.get("children", []) for name in _members(child, answer)),
    ]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more


def parse(answer: dict[str, Any], project: Path) -> dict[str, Host]:
    """Hosts from the JSON of ``ansible-inventory --list``. Raises HostUnknownError for an odd value."""
    values = answer.get("_meta", {}).get("hostvars", {})
    return {name: _host(name, values.get(name, {}), project) for name in ansible_inventory.names(answer)}


def _host(name: str, values: dict[str, Any], project: Path) -> Host:
    connection = str(values.get("ansible_connection", "ssh"))
    local = connection == "local"
    lab_dir = str(values.get("lab_dir") or (LOCAL_LAB if local else REMOTE_LAB))
    address, port, user = str(_said(values, "host") or name), _said(values, "port"), _said(values, "user")
    for option, value in (("lab_dir", lab_dir), ("ansible_host", address), ("ansible_port", port)):
        if "{{" in str(value):
            what = f"host {name}: {option} is a template ({value}); labctl needs it written out"
            raise HostUnknownError(what)
    if port is not None and not str(port).isdecimal():
        raise HostUnknownError(f"host {name}: ansible_port must be a number, not {port!r}")
    return Host(
        name=name,
        connection="ssh" if connection in ("smart", "paramiko") else connection,
        lab_dir=str(project / Path(lab_dir).expanduser()) if local else _below_home(name, lab_dir),
        address=address,
        user=None if user is None else str(user),
        port=None if port is None else int(port),
        vars=values,
    )


def _below_home(name: str, lab_dir: str) -> str:
    """A remote lab directory as a host takes it without its shell's help: a relative one begins in the home."""
    plain = lab_dir.removeprefix("~/").rstrip("/")
    if plain.startswith("~") or not plain:
        what = f"host {name}: lab_dir {lab_dir!r} cannot be: write a path below the home directory, or a whole one"
        raise HostUnknownError(what)
    return plain


def _said(values: dict[str, Any], what: str) -> Any:
    """The host, port or user that the variables give; where both spellings are there, Ansible takes this one."""
    older = values.get(f"ansible_ssh_{what}")
    return values.get(f"ansible_{what}") if older is None else older


def _usable(host: Host, inventory: Path) -> Host:
    """The same host, once nothing about it would make Ansible and labctl's own connection differ.

    Raises HostUnknownError naming the variable and what to write instead.
    """
    where = f"host {host.name} of {inventory}"
    for option, value in (("address", host.address), ("user", host.user or "")):
        # ssh would take what starts with a dash for an option of its own.
        if re.search(r"^-|\s|\{\{", value) or not value.isprintable():
            what = "must be written out, hold no blanks and not start with '-'"
            raise HostUnknownError(f"{where}: the {option} {value!r} cannot be: it {what}")
    if host.connection != "local":
        _refuse_ssh_options(host, where)
    return host


def _refuse_ssh_options(host: Host, where: str) -> None:
    said = {name: value for name, value in host.vars.items() if value not in (None, "")}
    for line, names in IN_SSH_CONFIG.items():
        for name in filter(said.__contains__, names):
            what = "labctl's own connection would not see it. Write into ~/.ssh/config, which both follow"
            block = f"Host {host.address}\n    {line.format(value=said[name])}"
            raise HostUnknownError(f"{where}: {name} must go: {what}:\n{block}")
    for reason, names in NOT_TAKEN.items():
        for name in filter(said.__contains__, names):
            raise HostUnknownError(f"{where}: {name} must go: {reason.format(name=host.name)}")
