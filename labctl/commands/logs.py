"""``labctl logs``: the engine's log."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from labctl.commands.options import RunArgument, RunHostOption

_LONGEST = 64 * 1024


def logs(
    run: RunArgument = None,
    host: RunHostOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    lines: Annotated[int | None, typer.Option("--lines", "-n", help="Only the last lines.", min=1)] = None,
) -> None:
    """Print the engine's log, each line stamped in seconds since the run's start.

    Example: labctl logs -n 20
    """
    from labctl.commands.remote import known_run
    from labctl.errors import UnreadableRunError
    from labctl.runner import rundir

    _, path = known_run(run, host)
    if path is None or (follow and not (path / rundir.SUMS).is_file()):
        path = _from_host(run, host, follow=follow)
        if follow:
            return
    log = path / rundir.ENGINE_LOG
    if not log.is_file():
        raise UnreadableRunError(f"{path.name} has no engine log here", f"labctl fetch {path.name}")
    found = _lines(log, 0, whole=False)
    for line in deque(found, lines) if lines else found:
        _print(line)


def _from_host(run: str | None, host: str | None, *, follow: bool) -> Path:
    """Mirror a run, once or until it has ended, printing what its log has grown by."""
    from labctl import transfer
    from labctl.commands.remote import line_to
    from labctl.follow import ALIVE_EVERY
    from labctl.runner import rundir

    shown, asked = 0, time.monotonic()
    with line_to(run, host) as where:
        while True:
            if time.monotonic() - asked > ALIVE_EVERY:
                where.launcher.control(where.path.name, "seal")
                asked = time.monotonic()
            ended = rundir.SUMS in transfer.mirror(where.session, where.remote_dir, where.path)
            if not follow:
                return where.path
            log = where.path / rundir.ENGINE_LOG
            for line in _lines(log, shown, whole=not ended):
                _print(line)
                shown += len(line)
            if ended:
                return where.path
            where.session.wait(f"{where.remote_dir}/{rundir.SUMS}", 1.0)


def _lines(log: Path, offset: int, *, whole: bool) -> Iterator[bytes]:
    """Lines from ``offset`` (bytes) on; with ``whole`` none that is still being written."""
    if not log.is_file():
        return
    with log.open("rb") as handle:
        handle.seek(offset)
        # A host may send one line of a gigabyte: it is taken in pieces.
        while line := handle.readline(_LONGEST):
            if whole and not line.endswith(b"\n") and len(line) < _LONGEST:
                return
            yield line


def _print(line: bytes) -> None:
    from labctl.report.text import clean

    typer.echo(clean(line.decode(errors="replace").rstrip("\r\n")))
