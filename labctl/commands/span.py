"""``labctl run LAB --span gpu1,gpu2``: one engine over several hosts, whose runs start and end together."""

from __future__ import annotations

import contextlib
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import typer

from labctl import spans
from labctl.commands.options import complain_of, print_json, say
from labctl.commands.remote import accompany
from labctl.commands.starting import Start, outcomes_of, started_row
from labctl.errors import EXIT_OK, EXIT_RUN_FAILED, LabError, UsageError
from labctl.follow import Line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labctl.commands.board import Board
    from labctl.commands.options import Project
    from labctl.fleet import Leave, Outcome
    from labctl.inventory import Host
    from labctl.launchers import Launcher
    from labctl.runner.spec import RunSpec

_UNKNOWN_YET = "(known at the start)"


class _OtherError(LabError):
    """Another host of the span could not, so this one does not; the other's error is what counts."""


def targets(place: Project, named: str, host: str) -> list[Host]:
    """The hosts of a span in the order given: the first is the head. Raises UsageError, HostUnknownError."""
    names = [name.strip() for name in named.split(",") if name.strip()]
    if host != "local":
        raise UsageError("--span names the hosts already: leave out --host")
    if len(names) < 2 or len(set(names)) < len(names):  # noqa: PLR2004 - one host is no span
        raise UsageError(f"--span takes two hosts or more, each once (gpu1,gpu2), not {named!r}")
    return [place.host(name) for name in names]


def addresses(hosts: Sequence[Host], given: str, specs: dict[str, RunSpec]) -> tuple[str, ...]:
    """The private address of each host, once lab and engine can be laid over them. Raises UsageError."""
    from labctl.runner.workloads import ServeBench

    first = specs[hosts[0].name]
    if first.mode != "server" or (isinstance(first.workload, ServeBench) and first.workload.server):
        raise UsageError(f"--span is for labs with a server of their own; {first.lab} is none here")
    spans.check(first.engine, hosts, {})
    return spans.addresses(hosts, given)


def planned(hosts: Sequence[Host], specs: dict[str, RunSpec], private: Sequence[str]) -> dict[str, RunSpec]:
    """The spec of each host as far as it is known before any of them was asked."""
    made = spans.parts(specs[hosts[0].name], hosts, private, [_UNKNOWN_YET] * len(hosts))
    return {host.name: spec for host, spec in zip(hosts, made, strict=True)}


@dataclass
class SpanStart(Start):
    """Starts all hosts of a span or none: they wait for each other before anything is made, and before it starts."""

    hosts: Sequence[Host] = ()
    addresses: Sequence[str] = ()
    _told: dict[str, tuple[Launcher, RunSpec]] = field(default_factory=dict)
    _ids: dict[str, str] = field(default_factory=dict)
    _parts: dict[str, RunSpec] = field(default_factory=dict)

    def over(self, hosts: Sequence[Host], addresses: Sequence[str]) -> Self:
        """Over these hosts, with one secret for all of them, by which their supervisors know each other."""
        from labctl.runner import joint

        self.hosts, self.addresses = hosts, addresses
        self.secrets = {joint.TOKEN: secrets.token_hex(32)}
        many = len(hosts)
        self._ready = threading.Barrier(many, action=self._agree)
        self._named = threading.Barrier(many, action=self._divide)
        self._begun = threading.Barrier(many)
        return self

    def on(self, target: Host, board: Board, leave: Leave) -> Path:
        """See Start.on. Raises LabError; where another host could not, that one's error is the one to show."""
        from labctl.launchers import launcher
        from labctl.sessions import open_session

        with self._all_or_none(), board.watching(target.name), open_session(target) as session:
            spec = self.specs[target.name]
            there = launcher(spec.launcher, target, session)
            there.ready()
            found = there.vllm()
            line = Line(target, session, there)
            if self.look:
                self.look(line)
            self._told[target.name] = there, self.build(target, found) if found and found != spec.vllm else spec
            self._meet(self._ready)
            with leave.busy():
                where = self._begin(line, board)
            if self.detach:
                board.done(target.name, "started")
            else:
                accompany(where, board, leave, self.patience)
        return where.path

    def _begin(self, line: Line, board: Board) -> Line:
        name = line.host.name
        self._ids[name] = line.launcher.new_id(self.specs[name])
        try:
            self._meet(self._named)
        except LabError:
            self._release(line, f"{line.host.lab_dir}/runs/{self._ids[name]}")
            raise
        where = self._launch(line, self._parts[name], board, self._ids[name])
        try:
            self._meet(self._begun)
        except LabError:
            # The others would wait for the one that is missing; nothing may stay behind here.
            with contextlib.suppress(LabError):
                line.launcher.control(where.path.name, "stop")
            raise
        return where

    def _agree(self) -> None:
        """Once all are ready. Raises UsageError where their labs do not fit each other or the engine."""
        spans.same_version({name: there.vllm() for name, (there, _) in self._told.items()})
        head = self._told[self.hosts[0].name][1]
        spans.check(head.engine, self.hosts, {name: there.variant() for name, (there, _) in self._told.items()})

    def _divide(self) -> None:
        """Once every run has its id."""
        runs = [self._ids[host.name] for host in self.hosts]
        made = spans.parts(self._told[self.hosts[0].name][1], self.hosts, self.addresses, runs)
        self._parts = {host.name: spec for host, spec in zip(self.hosts, made, strict=True)}

    @staticmethod
    def _meet(where: threading.Barrier) -> None:
        try:
            where.wait()
        except threading.BrokenBarrierError:
            raise _OtherError("not started, for another host of the span could not") from None

    @contextlib.contextmanager
    def _all_or_none(self) -> Any:
        try:
            yield
        except BaseException:
            for one in (self._ready, self._named, self._begun):
                one.abort()
            raise


def start(what: SpanStart, *, json: bool) -> None:
    """Start the span, follow every host of it, print what its first one came to; exit 1 where any part failed."""
    from labctl.commands.ending import finish, finish_all

    outcomes = outcomes_of(what, what.hosts)
    refused = [one for one in outcomes if one.error and not isinstance(one.error, _OtherError)]
    if what.detach and not refused:
        _left(outcomes, json=json)
    elif any(one.value is None for one in outcomes):
        for one in refused or outcomes:
            complain_of(one.host.name, str(one.error), one.next_command)
        raise typer.Exit(max(one.code for one in refused or outcomes))
    elif json:
        finish_all(outcomes, json=True)
    else:
        code = _workers(outcomes[1:])
        _open_ports(outcomes)
        finish(outcomes[0].result())
        if code:
            raise typer.Exit(code)


def _left(outcomes: Sequence[Outcome[Path]], *, json: bool) -> None:
    head, *others = (one.result().name for one in outcomes)
    say(f"started over {len(outcomes)} hosts; to see it:\n  labctl attach {head}")
    for run_id in others:
        say(f"its part elsewhere: labctl attach {run_id}")
    if json:
        print_json([started_row(one) for one in outcomes])
    else:
        typer.echo(head)


def _open_ports(outcomes: Sequence[Outcome[Path]]) -> None:
    """Say which ports were open to more than the private network: no setting of vLLM's closes them."""
    from labctl.runner import ending, events

    for one in outcomes:
        told = ending.last(events.read(one.result()), "listening") or {}
        rows = told["ports"] if isinstance(told.get("ports"), list) else []
        ports = [str(row.get("port")) for row in rows if isinstance(row, dict) and row.get("everywhere")]
        if ports:
            what = "listened on every address, without a password: keep it closed to the outside by a firewall"
            say(f"{one.host.name}: port {' and '.join(ports)} {what}")


def _workers(outcomes: Sequence[Outcome[Path]]) -> int:
    """One line for each host but the first; the exit code that they ask for."""
    from labctl import runs

    code = EXIT_OK
    for one in outcomes:
        run = runs.load(one.result())
        typer.echo(f"part of it on {one.host.name}: {run.run_id} ({run.record.status})")
        if run.record.status != "ok":
            code = EXIT_RUN_FAILED
    return code
