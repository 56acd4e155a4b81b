"""Bring a host to its state with Ansible: the only module that knows the folder ``ansible/``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from labctl import ansible_inventory, assets, inventory, runner_wheel
from labctl.errors import HostKeyError, LabError, ProvisionError, UnreachableError
from labctl.provision_events import NEED_PASSWORD, Progress
from labctl.sessions import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from labctl.inventory import Host
    from labctl.provision_events import Failure

# The task that fails where sudo refuses the password that was given.
TRY_PASSWORD = "system_packages : Try the sudo password"  # noqa: S105 - a task's name
# sudo's refusal of a user, whatever the password.
_MAY_NOT = re.compile("sudoers|not allowed|may not run")
# All that ssh says where a jump host's ssh failed: that one's own words are lost where connections are shared.
_BEHIND = "Connection closed by UNKNOWN port 65535"
# The path of a Unix socket ends at about 100 characters: 60 are left for those of Ansible's ssh.
_LONGEST_FOLDER = 40


class SudoPasswordNeeded(ProvisionError):  # noqa: N818 - a question more than an error
    """Packages are missing, and sudo on the host would install them for a password. Nothing was changed yet."""


def provision(  # noqa: PLR0913 - each is an option of the verb
    host: Host,
    *,
    check: bool = False,
    tags: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
    become_password: str | None = None,
    log_dir: Path,
    echo: Callable[[str], None],
    source: Path | None = None,
) -> dict[str, Any]:
    """Run the playbook on one host and give {"ok", "changed", "failed", "skipped" (tasks), "seconds"}.

    ``check`` changes nothing; ``tags`` are role names; ``extra`` overrides variables of the roles; ``source``
    is the inventory (default: what ``inventory.find`` finds). ``echo`` gets one line a task; all that Ansible
    says is kept in ``log_dir`` with mode 0600. ``become_password`` is for sudo, used only where packages are
    missing, and wins over the inventory's; an empty one means that nobody can be asked, and that vLLM shall go on
    without what it can do without.

    Raises SudoPasswordNeeded where one would help and none was given; UnreachableError and HostKeyError with what
    ssh said; else ProvisionError with the failing task, its message and the log's path.
    """
    source = source or inventory.find()
    log = log_dir / f"provision-{host.name}.log"
    started = time.monotonic()
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        with _scratch() as scratch:
            variables = {**_variables(host, scratch), **_sudo(become_password), **(extra or {})}
            values = _write(variables, scratch / "variables.json")
            command = [*_command(source, host, values), *_options(check=check, tags=tags)]
            progress = _run(command, _environment(host, source, scratch), log, echo)
    except OSError as error:
        raise ProvisionError(f"Ansible could not be started for {host.name}: {error}") from error
    if progress.failure:
        raise _error(host, progress.failure, log)
    if progress.recap is None:
        what = f"provisioning {host.name} failed: Ansible stopped before its end; it said: {_tail(log)}"
        raise ProvisionError(f"{what}\nThe whole log: {log}", f"labctl doctor --host {host.name}")
    return {**progress.recap, "seconds": round(time.monotonic() - started, 1)}


def _error(host: Host, failure: Failure, log: Path) -> LabError:
    """The error for a failure, worded for who has to cure it."""
    if failure.unreachable:
        return _line_error(host, failure.message)
    again = f"labctl provision {host.name} --ask-become-pass"
    if failure.task == NEED_PASSWORD:
        return SudoPasswordNeeded(f"{host.name}: {failure.message}", again)
    if failure.task == TRY_PASSWORD:
        said = failure.details[-1] if failure.details else failure.message
        if _MAY_NOT.search(said):
            what = f"sudo on {host.name} does not let this user install packages: {said}"
            return ProvisionError(what, f"labctl doctor --host {host.name}")
        return ProvisionError(f"sudo on {host.name} did not take the password: {said}", again)
    return ProvisionError(
        f"provisioning {host.name} failed: {failure}\nThe whole log: {log}", f"labctl doctor --host {host.name}"
    )


def _line_error(host: Host, said: str) -> LabError:
    """The error for a host that ssh could not work with, from its last words."""
    if " has changed" in said:
        return HostKeyError(f"the key of {host.name} is not the one that is known: {said}")
    if "Host key verification failed" in said:
        return HostKeyError(f"the key of {host.name} is not known: {said}", f"labctl hosts trust {host.name}")
    known = _of_own_line(host) if _BEHIND in said else None
    return known or UnreachableError(f"{host.name} cannot be reached: {said}", f"labctl doctor --host {host.name}")


def _of_own_line(host: Host) -> LabError | None:
    """What labctl's own connection to the host meets, if anything."""
    try:
        with open_session(host):
            return None
    except LabError as error:
        return error


@contextmanager
def _scratch() -> Iterator[Path]:
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


def _command(source: Path, host: Host, values: Path) -> list[str]:
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    playbook = str(assets.folder("ansible") / "playbooks" / "provision.yml")
    which = [*ansible_inventory.sources(source), "--limit", host.name]
    return [program, *which, "--extra-vars", f"@{values}", playbook]


def _options(*, check: bool, tags: Sequence[str]) -> list[str]:
    return [*(["--check"] if check else []), *(["--tags", ",".join(tags)] if tags else [])]


def _variables(host: Host, scratch: Path) -> dict[str, Any]:
    values = {"lab_dir": host.lab_dir, "lab_runner_wheel": str(runner_wheel.build(scratch))}
    if host.connection == "local" and "ansible_python_interpreter" not in host.vars:
        values["ansible_python_interpreter"] = sys.executable
    if host.connection == "ssh":
        # Also for `smart` and `paramiko`: the program ssh, which follows ~/.ssh/config.
        values["ansible_connection"] = "ssh"
    return values


def _sudo(password: str | None) -> dict[str, Any]:
    if password:
        # Not a template, whatever it holds.
        return {"ansible_become_password": {"__ansible_unsafe": password}}
    return {"system_packages_go_without": password is not None}


def _write(values: Mapping[str, Any], path: Path) -> Path:
    """Through a file, never through the command line, which everyone on the machine can read."""
    with _private(path) as file:
        file.write(json.dumps(values).encode())
    return path


def _environment(host: Host, source: Path, scratch: Path) -> dict[str, str]:
    variables = ansible_inventory.environment(source)
    if host.connection == "local":
        return {**variables, "ANSIBLE_REMOTE_TEMP": variables["ANSIBLE_LOCAL_TEMP"]}
    return {
        **variables,
        # Each task's files lie in a folder of their own, which Ansible removes: ~/.ansible would stay.
        "ANSIBLE_REMOTE_TEMP": "/tmp",  # noqa: S108 - as above
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(scratch / "ssh"),
        # As labctl's own connection does: nothing is asked in between (an unknown key, a passphrase that no agent
        # holds), by a jump host's ssh neither, and a line that says nothing any more is given up.
        "ANSIBLE_SSH_COMMON_ARGS": "-o BatchMode=yes -o ServerAliveInterval=15",
        # Ansible's own default but for the time: a master that nobody could hang up on stays for seconds only.
        "ANSIBLE_SSH_ARGS": "-C -o ControlMaster=auto -o ControlPersist=10s",
        "SSH_ASKPASS": "false",
        "SSH_ASKPASS_REQUIRE": "force",
    }


def _run(command: list[str], variables: dict[str, str], log: Path, echo: Callable[[str], None]) -> Progress:
    """Run Ansible with its output in the log, following its events until it closes their pipe."""
    reader, writer = os.pipe()
    variables["LABCTL_EVENTS_FD"] = str(writer)
    progress = Progress(echo)
    with os.fdopen(reader, "rb") as events, _private(log) as output:
        try:
            process = subprocess.Popen(
                command,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(writer,),
            )
        finally:
            os.close(writer)
        try:
            progress.follow(events)
        finally:
            # A Ctrl-C reaches Ansible too (same process group): let it end its task before labctl does.
            process.wait()
    return progress


def _private(path: Path) -> IO[bytes]:
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return " ".join(line.strip() for line in lines if line.strip())[-600:]
