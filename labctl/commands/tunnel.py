"""``labctl tunnel``: a kept server's port on this machine, for as long as it is wanted."""

from __future__ import annotations

import json
import shlex
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labctl.commands.kept import ServerArgument, ServerHostOption
from labctl.commands.options import PatienceOption, say

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.follow import Line
    from labctl.servers import Kept

_LOOK_S = 3.0
_AGAIN_S = 1.0


def tunnel(
    name: ServerArgument = None,
    host: ServerHostOption = None,
    port: Annotated[int, typer.Option(min=0, help="The port on this machine (default: a free one).")] = 0,
    patience: PatienceOption = 600.0,
) -> None:
    """Hold a tunnel to a kept server open until Ctrl-C; prints its address and lines to paste.

    A line that is cut is tried again; the port stays the same.

    Example: labctl tunnel
    """
    from labctl import api_keys
    from labctl.commands.kept import key_of, need_ready, server_line
    from labctl.commands.options import project

    with server_line(name, host) as (where, kept):
        need_ready(kept)
        file = api_keys.place(project().folder, kept.host, kept.run) if key_of(where, kept) else None
        _hold(where, kept, patience, port, file)


def _hold(where: Line, kept: Kept, patience: float, local: int, file: Path | None) -> None:
    """Keep the tunnel open. Raises ServerError once the server is down, UnreachableError after all patience."""
    from labctl import follow
    from labctl.errors import ServerError

    told = cut = False

    def waiting() -> None:
        nonlocal cut
        if not cut:
            say(f"{kept.host}: {follow.SILENT}")
        cut = True

    persist = follow.Persistence(where.session, patience, waiting)

    def once() -> None:
        nonlocal local, told, cut
        with where.session.forward(kept.port or 0, kept.there, local) as here:
            persist.alive()
            if told:
                say(f"the tunnel is open again: 127.0.0.1:{here}")
            else:
                _tell(here, kept, file)
            local, told, cut = here, True, False
            while True:
                time.sleep(_LOOK_S)
                _need_up(where, kept)

    while True:
        try:
            persist(once)
        except ServerError as error:
            if error.next_command or not told:
                raise
            # It is being started anew, at the same port.
            say(f"{error}; trying again")
            time.sleep(_AGAIN_S)
            _need_up(where, kept)


def _need_up(where: Line, kept: Kept) -> None:
    """Raise ServerError where the server has ended."""
    from labctl.errors import ServerError
    from labctl.runner import rundir

    if where.session.wait(f"{where.remote_dir}/{rundir.SUMS}", 0):
        raise ServerError(f"server {kept.name} on {kept.host} has ended", f"labctl fetch {kept.run}")


def _tell(port: int, kept: Kept, file: Path | None) -> None:
    from labctl.report.text import clean

    typer.echo(f"http://127.0.0.1:{port}/v1")
    typer.echo(clean("\n" + curl(port, kept, file) + "\n\n" + python(port, kept, file), 20_000))
    say("\nCtrl-C closes the tunnel")


def curl(port: int, kept: Kept, file: Path | None) -> str:
    """A command line that asks the server."""
    path, said = _question(kept)
    key = f' \\\n  -H "Authorization: Bearer $(cat {shlex.quote(str(file))})"' if file else ""
    return (
        f"curl -s http://127.0.0.1:{port}{path} \\\n  -H 'Content-Type: application/json'{key} \\\n"
        f"  -d {shlex.quote(json.dumps(said))}"
    )


def python(port: int, kept: Kept, file: Path | None) -> str:
    """The same in Python, by the openai client."""
    _, said = _question(kept)
    key = f"open({json.dumps(str(file))}).read().strip()" if file else '"none"'
    words = ", ".join(f"{name}={json.dumps(value)}" for name, value in said.items())
    call, text = ("chat.completions", "message.content") if kept.chat else ("completions", "text")
    return (
        "from openai import OpenAI\n"
        f'client = OpenAI(base_url="http://127.0.0.1:{port}/v1", api_key={key})\n'
        f"print(client.{call}.create({words}).choices[0].{text})"
    )


def _question(kept: Kept) -> tuple[str, dict[str, Any]]:
    """What the lines to paste ask, as `labctl ask` would: path and body."""
    from labctl.asking import Question

    asked = Question("Hello!" if kept.chat else "San Francisco is a", kept.chat, max_tokens=50)
    return asked.path, asked.body(kept.model, stream=False)
