"""``labctl logs``: the engine's log."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from labctl.commands.options import RunArgument


def logs(
    run: RunArgument = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    lines: Annotated[int | None, typer.Option("--lines", "-n", help="Only the last lines.", min=1)] = None,
) -> None:
    """Print the engine's log, each line stamped in seconds since the run's start.

    Example: labctl logs -n 20
    """
    from labctl import runs
    from labctl.commands.options import project
    from labctl.errors import UnreadableRunError
    from labctl.runner import rundir

    path = runs.find(project().runs_dir, run)
    log = path / rundir.ENGINE_LOG
    if follow and not (path / rundir.SUMS).is_file():
        _follow(path.name)
        return
    if not log.is_file():
        raise UnreadableRunError(f"{path.name} has no engine log here", f"labctl fetch {path.name}")
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    _print(text[-lines:] if lines else text)


def _follow(name: str) -> None:
    from labctl import runs
    from labctl.commands.remote import line_to
    from labctl.follow import ALIVE_EVERY
    from labctl.runner import rundir

    shown, asked = 0, time.monotonic()
    with line_to(name) as where:
        while True:
            ended = where.session.read(f"{where.remote_dir}/{rundir.SUMS}") is not None
            if time.monotonic() - asked > ALIVE_EVERY:
                where.launcher.control(name, "seal")
                asked = time.monotonic()
            runs.mirror(where.session, where.remote_dir, where.path)
            log = where.path / rundir.ENGINE_LOG
            text = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
            _print(text[shown:])
            shown = len(text)
            if ended:
                return
            time.sleep(1.0)


def _print(lines: list[str]) -> None:
    from labctl.report.text import clean

    for line in lines:
        typer.echo(clean(line))
