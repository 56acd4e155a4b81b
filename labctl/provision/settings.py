"""What Ansible is given for a provision: a folder, options, variables and an environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl import ansible_inventory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from labctl.inventory import Host
    from labctl.provision.order import Order
    from labctl.provision.rooms import Room

# The path of a Unix socket ends at about 100 characters: 60 are left for those of Ansible's ssh.
_LONGEST_FOLDER = 40
# Hosts that Ansible works on at once.
_FORKS = 50


@contextmanager
def scratch() -> Iterator[Path]:
    """A private folder; when it goes, the ssh connections that Ansible keeps open in it are ended."""
    short = len(tempfile.gettempdir()) < _LONGEST_FOLDER
    with tempfile.TemporaryDirectory(prefix="labctl-", dir=None if short else "/tmp") as name:  # noqa: S108 - random
        try:
            yield Path(name)
        finally:
            for socket in (Path(name) / "ssh").glob("*"):
                _hang_up(socket)


def _hang_up(socket: Path) -> None:
    """Ask the ssh behind a control socket to end; one that is gone, or hangs, ends by itself soon."""
    command = ["ssh", "-F", os.devnull, "-o", f'ControlPath="{socket}"', "-O", "exit", "labctl"]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return


def options(hosts: Sequence[Host], order: Order) -> list[str]:
    """ansible-playbook's options for an order on these hosts."""
    words = ["--limit", ",".join(host.name for host in hosts), "--forks", str(min(len(hosts), _FORKS))]
    return [*words, *(["--check"] if order.check else []), *(["--tags", ",".join(order.tags)] if order.tags else [])]


def host_vars(folder: Path, rooms: Sequence[Room]) -> Path:
    """An inventory without hosts that comes last, so that the variables beside it win over the user's own."""
    (folder / "host_vars").mkdir(parents=True)
    for room in rooms:
        # Not a template, whatever it holds: a host named it, or a user's own folder.
        bundle = {"lab_bundle": {"__ansible_unsafe": room.bundle}} if room.bundle else {}
        values = {**_variables(room.host), **bundle}
        (folder / "host_vars" / f"{room.host.name}.json").write_text(json.dumps(values), encoding="utf-8")
    (folder / "empty.ini").write_text("# see host_vars\n", encoding="utf-8")
    return folder / "empty.ini"


def _variables(host: Host) -> dict[str, Any]:
    values: dict[str, Any] = {"lab_dir": host.lab_dir}
    if host.connection == "local":
        values["ansible_python_interpreter"] = host.vars.get("ansible_python_interpreter", sys.executable)
        return values
    if host.connection == "ssh":
        # Also for `smart` and `paramiko`: the program ssh, which follows ~/.ssh/config.
        values["ansible_connection"] = "ssh"
    # Each task's files lie in a folder of their own, which Ansible removes: ~/.ansible would stay.
    return {**values, "ansible_remote_tmp": host.vars.get("ansible_remote_tmp", "/tmp")}  # noqa: S108 - as above


def sudo(password: str | None) -> dict[str, Any]:
    """The variables that an order's ``become_password`` means."""
    if password:
        # Not a template, whatever it holds.
        return {"ansible_become_password": {"__ansible_unsafe": password}}
    return {"system_packages_go_without": password is not None}


def environment(source: Path, scratch: Path, *, many: bool) -> dict[str, str]:
    """Ansible's environment; ``many``: there is more than one host."""
    variables = ansible_inventory.environment(source)
    if many:
        # A host that is slow, or waits for a lock, keeps no other one waiting.
        variables["ANSIBLE_STRATEGY"] = "free"
    return {
        **variables,
        "ANSIBLE_REMOTE_TEMP": variables["ANSIBLE_LOCAL_TEMP"],
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(scratch / "ssh"),
        # As labctl's own connection does: nothing is asked in between (an unknown key, a passphrase that no agent
        # holds), by a jump host's ssh neither, and a line that says nothing any more is given up.
        "ANSIBLE_SSH_COMMON_ARGS": "-o BatchMode=yes -o ServerAliveInterval=15",
        # Ansible's own default but for the time: a master that nobody could hang up on stays for seconds only.
        "ANSIBLE_SSH_ARGS": "-C -o ControlMaster=auto -o ControlPersist=10s",
        "SSH_ASKPASS": "false",
        "SSH_ASKPASS_REQUIRE": "force",
    }
