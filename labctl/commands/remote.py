"""What the verbs that follow one run share: its host, its session, and what is printed at its end."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import typer

from labctl.commands.options import project, say
from labctl.errors import EXIT_DETACHED, EXIT_RUN_FAILED, UnreadableRunError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labctl.launchers import Launcher
    from labctl.runs import Run
    from labctl.sessions import Session


class Line(NamedTuple):
    """A run and the open line to its host."""

    session: Session
    launcher: Launcher
    remote_dir: str
    path: Path


@contextmanager
def line_to(name: str | None) -> Iterator[Line]:
    """Open the line to the host of a local run. Raises UnreadableRunError for a run of no known host."""
    from labctl import runs
    from labctl.launchers import launcher
    from labctl.sessions import open_session

    place = project()
    path = runs.find(place.runs_dir, name)
    origin = runs.origin(path)
    if not origin.get("host") or not origin.get("remote_dir"):
        raise UnreadableRunError(f"{path.name} does not say on which host it ran")
    target = place.host(str(origin["host"]))
    with open_session(target) as session:
        kind = runs.asked_launcher(path)
        yield Line(session, launcher(kind, target, session), str(origin["remote_dir"]), path)


class Progress:
    """One line that says where the run is: rewritten on a terminal, a line a phase elsewhere."""

    def __init__(self, what: str) -> None:
        """``what`` stands before the phase."""
        self.what = what
        self.phase = ""
        self.live = sys.stderr.isatty()

    def __call__(self, phase: str, seconds: float) -> None:
        """Show the phase and the seconds so far."""
        from labctl.report.text import line

        phase = line(phase, 40)
        if self.live:
            sys.stderr.write(f"\r\x1b[K{self.what}: {phase} ({seconds:.0f} s)")
            sys.stderr.flush()
        elif phase != self.phase:
            say(f"{self.what}: {phase} ({seconds:.0f} s)")
        self.phase = phase

    def done(self) -> None:
        """Clear the line."""
        if self.live:
            sys.stderr.write("\r\x1b[K")


def follow_to_end(where: Line) -> None:
    """Follow a run to its end, fetch it, build its report and print what it came to; Ctrl-C detaches."""
    import threading

    from labctl import follow
    from labctl.report import page

    progress = Progress(where.path.name)
    if progress.live:
        say("Ctrl-C detaches, the run goes on. A first start compiles: about a minute. The log: labctl logs -f")
    # The plotting library takes a second to import; the run takes longer, so this costs nobody anything.
    threading.Thread(target=page.warm, daemon=True).start()
    try:
        follow.follow(where.session, where.launcher, where.remote_dir, where.path, progress)
    except KeyboardInterrupt:
        progress.done()
        say(f"detached; the run goes on. To see it again:\n  labctl attach {where.path.name}")
        raise typer.Exit(EXIT_DETACHED) from None
    finally:
        progress.done()
    finish(where.path)


def page_of(path: Path) -> Path:
    """Build the report of a run and give its page. Raises UnreadableRunError where it cannot be written."""
    from labctl import runs
    from labctl.report import page

    runs.load(path)
    try:
        return page.build(path)
    except OSError as error:
        raise UnreadableRunError(f"the report of {path.name} cannot be written: {error}") from error


def finish(path: Path) -> None:
    """Build the report of a fetched run, print its summary, and exit 1 where the run failed."""
    from labctl import runs
    from labctl.runner import rundir

    page = page_of(path)
    run = runs.load(path)
    summary(run)
    typer.echo(f"report: {page}")
    if run.record.status != "ok":
        if (path / rundir.ENGINE_LOG).is_file():
            say(f"the engine's log:\n  labctl logs {run.run_id}")
        raise typer.Exit(EXIT_RUN_FAILED)


def summary(run: Run) -> None:
    """A few lines of figures: what the run came to."""
    from labctl.report.amounts import number
    from labctl.report.text import line

    record = run.record
    typer.echo(f"run: {run.run_id} ({record.status})")
    if record.error:
        typer.echo(f"error in {line(record.error.get('phase'))}: {line(record.error.get('message'), 500)}")
    if record.model and record.model.get("synthetic"):
        typer.echo(f"model: synthetic, random weights of {line(run.spec.model)} ({line(record.model.get('why'))})")
    for name, label in _SHOWN.items():
        figure = record.metrics.get(name, {})
        value = figure.get("value")
        if value is None and name == "throughput" and record.status == "ok":
            typer.echo(f"{label}: unknown ({line(figure.get('note'))})")
        if value is not None:
            text = number(value) or line(value)
            low, high = number(figure.get("low")), number(figure.get("high"))
            spread = f" (median of {figure.get('n')}: {low} to {high})" if low and high else ""
            note = f" ({line(figure.get('note'))})" if name == "compile_cache" else ""
            typer.echo(f"{label}: {text} {line(figure.get('unit'))}".rstrip() + spread + note)


_SHOWN = {
    "throughput": "throughput",
    "kv_tokens": "KV cache size",
    "kv_max_concurrency": "maximum concurrency",
    "startup": "start-up time",
    "compile_cache": "compile cache",
}
