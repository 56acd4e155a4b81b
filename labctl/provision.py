"""Bring a host to its state with Ansible: the only module that knows the folder ``ansible/``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from labctl import ansible_inventory, assets, inventory, runner_wheel
from labctl.errors import ProvisionError
from labctl.provision_events import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from labctl.inventory import Host


def provision(  # noqa: PLR0913 - each is an option of the verb
    host: Host,
    *,
    check: bool = False,
    tags: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
    log_dir: Path,
    echo: Callable[[str], None],
    source: Path | None = None,
) -> dict[str, Any]:
    """Run the playbook on one host and give {"ok", "changed", "failed", "skipped" (tasks), "seconds"}.

    ``check`` changes nothing; ``tags`` are role names; ``extra`` overrides variables of the roles; ``source``
    is the inventory (default: what ``inventory.find`` finds). ``echo`` gets one line a task; all that Ansible
    says is kept in ``log_dir`` with mode 0600. Raises ProvisionError with the failing task, its message and
    the log's path.
    """
    source = source or inventory.find()
    log = log_dir / f"provision-{host.name}.log"
    started = time.monotonic()
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="labctl-provision-") as scratch:
            values = Path(scratch) / "variables.json"
            values.write_text(json.dumps(_variables(host, extra or {}, Path(scratch))), encoding="utf-8")
            command = [*_command(source, host, values), *_options(check=check, tags=tags)]
            progress = _run(command, _environment(host, source), log, echo)
    except OSError as error:
        raise ProvisionError(f"Ansible could not be started for {host.name}: {error}") from error
    if progress.failure or progress.recap is None:
        what = progress.failure or f"Ansible stopped before its end; it said: {_tail(log)}"
        what = f"provisioning {host.name} failed: {what}\nThe whole log: {log}"
        raise ProvisionError(what, f"labctl doctor --host {host.name}")
    return {**progress.recap, "seconds": round(time.monotonic() - started, 1)}


def _command(source: Path, host: Host, values: Path) -> list[str]:
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    playbook = str(assets.folder("ansible") / "playbooks" / "provision.yml")
    which = [*ansible_inventory.sources(source), "--limit", host.name]
    return [program, *which, "--extra-vars", f"@{values}", playbook]


def _options(*, check: bool, tags: Sequence[str]) -> list[str]:
    return [*(["--check"] if check else []), *(["--tags", ",".join(tags)] if tags else [])]


def _variables(host: Host, extra: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """Through a file, never through the command line, which everyone on the machine can read."""
    values = {"lab_dir": host.lab_dir, "lab_runner_wheel": str(runner_wheel.build(scratch))}
    if host.connection == "local" and "ansible_python_interpreter" not in host.vars:
        values["ansible_python_interpreter"] = sys.executable
    return {**values, **extra}


def _environment(host: Host, source: Path) -> dict[str, str]:
    variables = ansible_inventory.environment(source)
    if host.connection == "local":
        variables["ANSIBLE_REMOTE_TEMP"] = variables["ANSIBLE_LOCAL_TEMP"]
    return variables


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


def _private(log: Path) -> IO[bytes]:
    log.unlink(missing_ok=True)
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return " ".join(line.strip() for line in lines if line.strip())[-600:]
