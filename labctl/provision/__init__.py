"""Bring hosts to their state with Ansible: the only package that knows the folder ``ansible/``.

One Ansible works on all hosts, each at its own pace: eight that start and think for themselves would take the
controller's processors from each other for longer than the hosts need.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl import ansible_inventory, assets, fleet, runner_wheel
from labctl.errors import LabError, ProvisionError, UsageError
from labctl.provision import lock, log, runner, settings
from labctl.provision.order import Order, Show
from labctl.provision.rooms import Listener, Room
from labctl.sessions import open_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labctl.fleet import Leave, Outcome
    from labctl.inventory import Host

__all__ = ["Order", "Show", "provision", "roles"]


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
    logs = log.folder(source.parent)
    with ExitStack() as locks:
        for name, end in ends.items():
            try:
                locks.enter_context(lock.held(logs.parent / "locks", name))
            except (LabError, OSError) as error:
                end.error = error
        free = [end.host for end in ends.values() if end.error is None]
        reached = fleet.each(free, partial(_reach, order, show), show.tick)
        for one in reached:
            ends[one.host.name].error = one.error
        rooms = [Room(one.host, order, str(one.value), logs, show) for one in reached if one.error is None]
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
        from labctl.bundle.send import send

        show.doing(host.name, f"sending {order.bundle}")
        with leave.busy():
            return str(send(session, host, order.bundle))


def _work(rooms: Sequence[Room], order: Order, source: Path, show: Show) -> None:
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
            _run(stack.enter_context(settings.scratch()), rooms, order, source, show)
            for room in rooms:
                room.conclude(started)
    except OSError as error:
        for room in rooms:
            room.error = ProvisionError(f"Ansible could not be started for {room.host.name}: {error}")


def _run(scratch: Path, rooms: Sequence[Room], order: Order, source: Path, show: Show) -> None:
    hosts = [room.host for room in rooms]
    mine = settings.host_vars(scratch / "hosts", rooms)
    playbook = runner.Playbook(
        program=Path(sys.executable).with_name("ansible-playbook"),
        path=_playbook(order.playbook),
        words=[*ansible_inventory.sources(source), "-i", str(mine), *settings.options(hosts, order)],
        variables={
            "lab_runner_wheel": str(runner_wheel.build(scratch)),
            **settings.sudo(order.become_password),
            **order.extra,
        },
    )
    environment = settings.environment(source, scratch, many=len(hosts) > 1)
    listen = Listener(rooms)

    def tick() -> None:
        for room in rooms:
            room.progress.tick()
        show.tick()

    def work(_first: Host, leave: Leave) -> None:
        with leave.busy():
            runner.run(playbook, environment, scratch, listen, leave)

    # One thread for all of them: the first stands for the others.
    [outcome] = fleet.each(hosts[:1], work, tick)
    outcome.result()


def _playbook(name: str) -> Path:
    return assets.folder("ansible") / "playbooks" / f"{name}.yml"
