"""What belongs to each host while one Ansible works on all of them."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from labctl.errors import LabError, ProvisionError
from labctl.provision import ends
from labctl.provision.events import Progress, read
from labctl.provision.log import HostLog
from labctl.runner.redact import Redactor, secret_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labctl.inventory import Host
    from labctl.provision.order import Order, Show


class Room:
    """What belongs to one host while Ansible works: its log, its progress, and what came of it."""

    def __init__(self, host: Host, order: Order, bundle: str, logs: Path, show: Show) -> None:
        """``bundle`` is the bundle's folder on the host, empty where there is none."""
        self.host, self.order, self.bundle = host, order, bundle
        self.log = HostLog(logs, host.name, Redactor(_secrets(host, order)))
        self.progress = Progress(*(partial(tell, host.name) for tell in (show.line, show.passing, show.doing)))
        self.value: dict[str, Any] | None = None
        self.error: Exception | None = None
        self.ended = time.monotonic()

    def take(self, told: dict[str, Any]) -> None:
        """An event of ``events.read`` that is this host's."""
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
            raise ends.error(self.host, self.progress.failure, self.log.path)
        if self.progress.recap is None:
            what = f"provisioning {self.host.name} failed: Ansible stopped before its end; it said: {self.log.tail()}"
            raise ProvisionError(f"{what}\nThe whole log: {self.log.path}", f"labctl doctor --host {self.host.name}")
        return self.progress.recap


def _secrets(host: Host, order: Order) -> dict[str, str]:
    """What no log may hold: the environment's secrets, and the passwords of the inventory and of this call."""
    told = {**host.vars, **order.extra, "become_password": order.become_password}
    named = {name: value for name, value in told.items() if secret_name(name) or name.endswith("_pass")}
    return {**os.environ, **{f"{name}_password": value for name, value in named.items() if isinstance(value, str)}}


class Listener:
    """Gives each of ansible-runner's events to the host that it is about, or to all."""

    def __init__(self, rooms: Sequence[Room]) -> None:
        """``rooms`` are those of all hosts."""
        self._rooms = {room.host.name: room for room in rooms}

    def __call__(self, event: dict[str, Any]) -> None:
        """Take in one event."""
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
