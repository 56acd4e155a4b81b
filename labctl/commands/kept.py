"""What the verbs for kept servers share: which one is meant, the line to its host, and its key."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from labctl.commands.options import Project, project
from labctl.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labctl.follow import Line
    from labctl.inventory import Host
    from labctl.runner.spec import RunSpec
    from labctl.servers import Kept
    from labctl.sessions import Session

_WHICH = "A kept server's name, or part of its run's id; the newest that was started from here if left out."
ServerArgument = Annotated[str | None, typer.Argument(metavar="NAME", help=_WHICH)]
ServerOption = Annotated[str | None, typer.Option("--name", metavar="NAME", help=_WHICH)]
ServerHostOption = Annotated[
    str | None, typer.Option("--host", help="The host that has the server, where it was not started from here.")
]
SYNTHETIC = "its model is synthetic (random weights): the text is noise, the speed is real"
_START_ONE = "labctl up server --host HOST"


@contextmanager
def server_line(name: str | None, host: str | None) -> Iterator[tuple[Line, Kept]]:
    """The open line to a kept server's host, and what it says of the server now.

    Raises ServerError where there is none or it has ended, UnreachableError, HostKeyError, HostUnknownError.
    """
    from labctl import host_servers
    from labctl.follow import Line
    from labctl.launchers import launcher
    from labctl.sessions import open_session

    place = project()
    target, path = (place.host(host), None) if host else _started_here(place, name)
    with open_session(target) as session:
        if path is None:
            kept = _one_of(target, host_servers.on_host(session, launcher("venv", target, session), target), name)
        else:
            kept = _of_run(session, target, path)
            # The run lies where it was started, wherever the inventory says today that new ones go.
            target = replace(target, lab_dir=kept.remote_dir.removesuffix(f"/runs/{kept.run}"))
        yield Line(target, session, launcher("venv", target, session), kept.remote_dir, place.runs_dir / kept.run), kept


def _started_here(place: Project, name: str | None) -> tuple[Host, Path]:
    from labctl import runs, servers

    known = [(path, servers.name_of(asked)) for path, asked in servers.started_here(place.runs_dir)]
    for path, called in known:
        if name is None or name == called or name in path.name:
            return place.host(str(runs.origin(path).get("host"))), path
    if name is None:
        raise ServerError("no server that was started from here is up; one started elsewhere takes --host", _START_ONE)
    names = ", ".join(dict.fromkeys(called for _, called in known)) or "none"
    raise ServerError(f"no server {name} was started from here (up: {names}); elsewhere: --host", "labctl ps")


def _of_run(session: Session, target: Host, path: Path) -> Kept:
    from labctl import host_servers, runs, servers

    kept = host_servers.look(session, target.name, str(runs.origin(path).get("remote_dir")))
    if kept is None:
        raise ServerError(f"{target.name} no longer has the server's run {path.name}", "labctl ps")
    if kept.state == servers.ENDED:
        raise ServerError(f"server {kept.name} on {kept.host} is down: {kept.detail}", f"labctl fetch {kept.run}")
    return kept


def _one_of(target: Host, found: list[Kept], name: str | None) -> Kept:
    if not found:
        raise ServerError(f"no kept server runs on {target.name}", f"labctl up server --host {target.name}")
    for kept in reversed(found):
        if name is None or name == kept.name or name in kept.run:
            return kept
    names = ", ".join(kept.name for kept in found)
    raise ServerError(f"no server {name} runs on {target.name} (there: {names})", f"labctl ps --host {target.name}")


def need_ready(kept: Kept) -> None:
    """Raise ServerError where a server answers nothing yet, or not now."""
    from labctl import servers

    if kept.state == servers.READY and kept.port is None:
        raise ServerError(f"server {kept.name} on {kept.host} does not say at which port it listens")
    if kept.state != servers.READY:
        raise ServerError(
            f"server {kept.name} on {kept.host} is not ready: {kept.words}", f"labctl ps --host {kept.host}"
        )


def key_of(where: Line, kept: Kept) -> str:
    """The server's API key, from here or, for one that was started elsewhere, from its host; "" where it wants none.

    Raises ServerError where neither has it.
    """
    from labctl import api_keys
    from labctl.runner import api_key

    if not kept.keyed:
        return ""
    place = project().folder
    key = api_keys.kept(place, kept.host, kept.run)
    if not key:
        data = where.session.read(f"{where.host.lab_dir}/secrets/{api_key.file_name(kept.run)}", limit=4096)
        key = (data or b"").decode(errors="replace").strip()
        if not key:
            raise ServerError(f"server {kept.name} wants an API key, and neither this machine nor {kept.host} has it")
        api_keys.keep(place, kept.host, kept.run, key)
    return key


def asked_name(words: str) -> str:
    """A lab's name as a server's: letters, digits, - and _, 40 at most."""
    import re

    return re.sub("[^A-Za-z0-9_-]+", "-", words).strip("-")[:40] or "server"


def running_name(asked: RunSpec, where: Line) -> None:
    """Raise ServerError where a server of this name is up there already."""
    from labctl import host_servers, servers

    name = servers.name_of(asked)
    for kept in host_servers.on_host(where.session, where.launcher, where.host):
        if kept.name == name:
            since = f", {kept.words} since {kept.since}" if kept.since else f", {kept.words}"
            what = f"a server {name} is up on {kept.host} already: run {kept.run}{since}. Another one takes --name"
            raise ServerError(what, f"labctl down {name} --host {kept.host}")
