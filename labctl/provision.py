"""Bring hosts to their state with Ansible: the only module that knows the folder ``ansible/``.

One Ansible works on all hosts, each at its own pace: eight that start and think for themselves would take the
controller's processors from each other for longer than the hosts need.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from labctl import ansible_inventory, assets, fleet, provision_lock, provision_log, provision_runner, runner_wheel
from labctl.errors import HostKeyError, LabError, ProvisionError, UnreachableError, UsageError
from labctl.provision_events import NEED_PASSWORD, Progress, read
from labctl.provision_log import HostLog
from labctl.runner.redact import Redactor, secret_name
from labctl.sessions import open_session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from labctl.fleet import Leave, Outcome
    from labctl.inventory import Host
    from labctl.provision_events import Failure

# The task that fails where sudo refuses the password that was given.
TRY_PASSWORD = "system_packages : Try the sudo password"  # noqa: S105 - a task's name
# sudo's refusal of a user, whatever the password.
_MAY_NOT = re.compile("sudoers|not allowed|may not run")
# What Ansible says before a variable that is not what the role's argument_specs ask for.
_WRONG_TYPE = re.compile(r"Validation of arguments failed:.*?(?=argument '|$)")
# All that ssh says where a jump host's ssh failed: that one's own words are lost where connections are shared.
_BEHIND = "Connection closed by UNKNOWN port 65535"
# The path of a Unix socket ends at about 100 characters: 60 are left for those of Ansible's ssh.
_LONGEST_FOLDER = 40
# Hosts that Ansible works on at once.
_FORKS = 50


class SudoPasswordNeeded(ProvisionError):  # noqa: N818 - a question more than an error
    """Packages are missing, and sudo on the host would install them for a password. Nothing was changed yet."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked: a playbook (``provision``, ``verify`` or ``reset``), and how.

    ``check`` changes nothing; ``tags`` are role names; ``extra`` overrides variables of the roles; ``bundle`` is a
    folder here that stands in for every index. ``become_password`` is for sudo, used only where packages are missing,
    and wins over the inventory's; an empty one means that nobody can be asked, and that vLLM shall go on without what
    it can do without.
    """

    playbook: str = "provision"
    check: bool = False
    tags: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    become_password: str | None = None
    bundle: Path | None = None

    @property
    def whole(self) -> bool:
        """Whether a host for which this succeeds has the playbook's whole state."""
        return not self.check and not self.tags


class Show(Protocol):
    """Who watches; called from other threads."""

    def line(self, host: str, text: str) -> None:
        """A line about a host that is worth keeping."""

    def passing(self, host: str, text: str) -> None:
        """A line that says no more than that things go on."""

    def doing(self, host: str, task: str) -> None:
        """A host's task begins; an empty one: it has ended."""

    def tick(self) -> None:
        """Called all the while, from the main thread."""


def roles(playbook: str = "provision") -> list[str]:
    """Names of the playbook's roles, which are also its tags."""
    import yaml

    plays = yaml.safe_load(_playbook(playbook).read_text(encoding="utf-8"))
    return [str(role["role"]) for play in plays for role in play["roles"]]


def provision(hosts: Sequence[Host], order: Order, *, source: Path, show: Show) -> list[Outcome[dict[str, Any]]]:
    """Run a playbook on hosts and give {"ok", "changed", "failed", "skipped" (tasks), "seconds", "notes"} of each.

    ``source`` is the inventory. All that Ansible says of a host is kept beside it with mode 0600. One host's failure
    is that host's alone: SudoPasswordNeeded where a password would help and none was given; UnreachableError and
    HostKeyError with what ssh said; else ProvisionError with the failing task, its message and the log's path.

    Raises UsageError for a tag that no role has.
    """
    unknown = sorted(set(order.tags) - set(known := roles(order.playbook)))
    if unknown:
        raise UsageError(f"no role is called {', '.join(unknown)}; there are: {', '.join(known)}")
    ends = {host.name: fleet.Outcome[dict[str, Any]](host) for host in hosts}
    logs = provision_log.folder(source.parent)
    with ExitStack() as locks:
        for name, end in ends.items():
            try:
                locks.enter_context(provision_lock.held(logs.parent / "locks", name))
            except (LabError, OSError) as error:
                end.error = error
        free = [end.host for end in ends.values() if end.error is None]
        reached = fleet.each(free, partial(_reach, order, show), show.tick)
        for one in reached:
            ends[one.host.name].error = one.error
        rooms = [_Room(one.host, order, str(one.value), logs, show) for one in reached if one.error is None]
        _work(rooms, order, source, show)
    for room in rooms:
        ends[room.host.name].value, ends[room.host.name].error = room.value, room.error
    return list(ends.values())


def _reach(order: Order, show: Show, host: Host, leave: Leave) -> str:
    """Try the line as labctl's other verbs do, whose errors say more than Ansible's; give the bundle's folder there."""
    if host.connection != "ssh" and not order.bundle:
        return ""
    show.doing(host.name, "connecting")
    with open_session(host) as session:
        if not order.bundle:
            return ""
        from labctl import bundle_send

        show.doing(host.name, f"sending {order.bundle}")
        with leave.busy():
            return str(bundle_send.send(session, host, order.bundle))


class _Room:
    """What belongs to one host while Ansible works: its log, its progress, and what came of it."""

    def __init__(self, host: Host, order: Order, bundle: str, logs: Path, show: Show) -> None:
        self.host, self.order, self.bundle = host, order, bundle
        self.log = HostLog(logs, host.name, Redactor(_secrets(host, order)))
        self.progress = Progress(*(partial(tell, host.name) for tell in (show.line, show.passing, show.doing)))
        self.value: dict[str, Any] | None = None
        self.error: Exception | None = None
        self.ended = time.monotonic()

    def take(self, told: dict[str, Any]) -> None:
        """An event of ``provision_events.read`` that is this host's."""
        self.progress.take(told)
        if told["event"] == "result":
            self.log.result(told)
            self.ended = time.monotonic()

    def conclude(self, started: float) -> None:
        """Find out what came of it, and keep what later runs shall have."""
        seconds = round(self.ended - started, 1)
        try:
            recap = self._recap()
        except LabError as error:
            self.error = error
            self.log.fact(event="end", error=" ".join(str(error).split())[:500], seconds=seconds)
            return
        self.log.fact(event="end", **recap, seconds=seconds)
        self.value = {**recap, "seconds": seconds, "notes": self.progress.notes}
        if self.order.whole and self.order.playbook == "provision":
            self.log.keep()
        elif self.order.whole and self.order.playbook == "reset":
            self.log.forget()

    def _recap(self) -> dict[str, int]:
        if self.progress.failure:
            raise _error(self.host, self.progress.failure, self.log.path)
        if self.progress.recap is None:
            what = f"provisioning {self.host.name} failed: Ansible stopped before its end; it said: {self.log.tail()}"
            raise ProvisionError(f"{what}\nThe whole log: {self.log.path}", f"labctl doctor --host {self.host.name}")
        return self.progress.recap


def _secrets(host: Host, order: Order) -> dict[str, str]:
    """What no log may hold: the environment's secrets, and the passwords of the inventory and of this call."""
    told = {**host.vars, **order.extra, "become_password": order.become_password}
    named = {name: value for name, value in told.items() if secret_name(name) or name.endswith("_pass")}
    return {**os.environ, **{f"{name}_password": value for name, value in named.items() if isinstance(value, str)}}


def _work(rooms: Sequence[_Room], order: Order, source: Path, show: Show) -> None:
    """Run Ansible for these hosts and give each room its value or error."""
    if not rooms:
        return
    started = time.monotonic()
    for room in rooms:
        show.doing(room.host.name, "starting Ansible")
    try:
        rooms[0].log.path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for room in rooms:
                stack.enter_context(room.log)
                room.log.fact(event="begin", playbook=order.playbook, check=order.check, tags=list(order.tags))
            _run(stack.enter_context(_scratch()), rooms, order, source, show)
            for room in rooms:
                room.conclude(started)
    except OSError as error:
        for room in rooms:
            room.error = ProvisionError(f"Ansible could not be started for {room.host.name}: {error}")


def _run(scratch: Path, rooms: Sequence[_Room], order: Order, source: Path, show: Show) -> None:
    hosts = [room.host for room in rooms]
    mine = _host_vars(scratch / "hosts", rooms)
    playbook = provision_runner.Playbook(
        program=Path(sys.executable).with_name("ansible-playbook"),
        path=_playbook(order.playbook),
        words=[*ansible_inventory.sources(source), "-i", str(mine), *_options(hosts, order)],
        variables={
            "lab_runner_wheel": str(runner_wheel.build(scratch)),
            **_sudo(order.become_password),
            **order.extra,
        },
    )
    environment = _environment(source, scratch, many=len(hosts) > 1)
    listen = _Listener(rooms)

    def tick() -> None:
        for room in rooms:
            room.progress.tick()
        show.tick()

    def work(_first: Host, leave: Leave) -> None:
        with leave.busy():
            provision_runner.run(playbook, environment, scratch, listen, leave)

    # One thread for all of them: the first stands for the others.
    [outcome] = fleet.each(hosts[:1], work, tick)
    outcome.result()


class _Listener:
    """Gives each of ansible-runner's events to the host that it is about, or to all."""

    def __init__(self, rooms: Sequence[_Room]) -> None:
        self._rooms = {room.host.name: room for room in rooms}

    def __call__(self, event: dict[str, Any]) -> None:
        told = read(event)
        if told and told["event"] == "stats":
            for name, sums in told["hosts"].items():
                if name in self._rooms:
                    self._rooms[name].take({"event": "stats", "sums": sums})
        elif told and told["host"] in self._rooms:
            self._rooms[told["host"]].take(told)
        self._log(event)

    def _log(self, event: dict[str, Any]) -> None:
        data = event.get("event_data") or {}
        room = self._rooms.get(str(data.get("host") or data.get("remote_addr")))
        if room:
            room.log.say(event.get("stdout") or "", " : ".join(filter(None, (data.get("role"), data.get("task")))))
        elif event.get("event") != "playbook_on_task_start":
            for each in self._rooms.values():
                each.log.say(event.get("stdout") or "")


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
    if _WRONG_TYPE.match(failure.message):
        role, what = failure.task.partition(" : ")[0], _WRONG_TYPE.split(failure.message)[-1]
        return ProvisionError(f"{host.name}: a variable of the role {role} cannot be what it is: {what}")
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


def _playbook(name: str) -> Path:
    return assets.folder("ansible") / "playbooks" / f"{name}.yml"


def _options(hosts: Sequence[Host], order: Order) -> list[str]:
    words = ["--limit", ",".join(host.name for host in hosts), "--forks", str(min(len(hosts), _FORKS))]
    return [*words, *(["--check"] if order.check else []), *(["--tags", ",".join(order.tags)] if order.tags else [])]


def _host_vars(folder: Path, rooms: Sequence[_Room]) -> Path:
    """An inventory without hosts that comes last, so that the variables beside it win over the user's own."""
    (folder / "host_vars").mkdir(parents=True)
    for room in rooms:
        values = {**_variables(room.host), **({"lab_bundle": room.bundle} if room.bundle else {})}
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


def _sudo(password: str | None) -> dict[str, Any]:
    if password:
        # Not a template, whatever it holds.
        return {"ansible_become_password": {"__ansible_unsafe": password}}
    return {"system_packages_go_without": password is not None}


def _environment(source: Path, scratch: Path, *, many: bool) -> dict[str, str]:
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
