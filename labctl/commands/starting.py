"""Starts specs on their hosts, all at once, and follows each to its report."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from labctl import fleet, follow
from labctl.commands.board import Board
from labctl.commands.options import complain_of, print_json, say
from labctl.commands.remote import accompany, detached, telling, warm
from labctl.errors import EXIT_OK, LabError, LaunchError, TransferError
from labctl.follow import Line
from labctl.runner import rundir

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from labctl.fleet import Leave, Outcome
    from labctl.inventory import Host
    from labctl.runner.spec import RunSpec


@dataclass
class Start:
    """What to start where; ``started``: runs that may be going on by now.

    ``note`` gets each run's directory here before anything is started there.
    ``secrets``: variables for these runs alone, in their 0600 files. ``look`` may refuse a host before anything is
    started on it; ``go_on``: what follows a run that was started.
    ``build`` makes the spec of a host again for the vLLM that is found there, checked against that version's table.
    """

    runs_dir: Path
    specs: dict[str, RunSpec]
    build: Callable[[Host, str], RunSpec]
    detach: bool
    patience: float
    note: Callable[[Path], None] | None = None
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    look: Callable[[Line], None] | None = None
    go_on: Callable[[Line, Board, Leave, float], None] = accompany
    started: list[Path] = field(default_factory=list)

    def on(self, target: Host, board: Board, leave: Leave) -> Path:
        """Start one host's run, and follow it unless detached. Returns its directory here; raises LabError."""
        from labctl.launchers import launcher
        from labctl.sessions import open_session

        spec = self.specs[target.name]
        with board.watching(target.name), open_session(target) as session:
            there = launcher(spec.launcher, target, session)
            there.ready()
            found = there.vllm()
            if found and found != spec.vllm:
                spec = self.build(target, found)
            line = Line(target, session, there)
            if self.look:
                self.look(line)
            with leave.busy():
                where = self._launch(line, spec, board)
            if self.detach:
                board.done(target.name, "started")
            else:
                self.go_on(where, board, leave, self.patience)
        return where.path

    def _launch(self, line: Line, spec: RunSpec, board: Board, run_id: str = "") -> Line:
        """Start a run on the host; ``run_id``: one that it has given already."""
        from labctl import runs

        board.state(line.host.name, "starting")
        run_id = run_id or line.launcher.new_id(spec)
        remote_dir = f"{line.host.lab_dir}/runs/{run_id}"
        # The laptop's note of the run comes first: killed at any later moment, labctl can attach to it again.
        try:
            path = runs.create(self.runs_dir, run_id, line.host.name, remote_dir, spec)
        except TransferError:
            self._release(line, remote_dir)
            raise
        where = line._replace(remote_dir=remote_dir, path=path)
        if self.note:
            self.note(path)
        self.started.append(path)

        def waiting() -> None:
            board.state(line.host.name, follow.SILENT)

        with telling(where.path):
            try:
                follow.launch(where, spec, follow.Persistence(line.session, self.patience, waiting), self.secrets)
            except (LaunchError, TransferError):
                # Nothing runs there: the error's own cure counts, and the note goes.
                self.started.remove(path)
                runs.forget(path)
                self._release(line, remote_dir)
                raise
        from labctl.provision import log  # with all of provision: not before the run has begun

        log.into_run(self.runs_dir.parent, line.host.name, path)
        return where

    @staticmethod
    def _release(line: Line, remote_dir: str) -> None:
        """Take back the folder on the host that nothing was started in; where that fails it stays, empty."""
        with contextlib.suppress(LabError):
            line.session.run(["rm", "-f", f"{remote_dir}/{rundir.SPEC}"])
            line.session.run(["rmdir", remote_dir])


def start(what: Start, targets: Sequence[Host], *, json: bool) -> None:
    """Start everything at once, follow it, and print what it came to; Ctrl-C detaches."""
    from labctl.commands.ending import finish, finish_all

    outcomes = outcomes_of(what, targets)
    if what.detach:
        _left(outcomes, json=json)
    elif len(outcomes) == 1 and not json:
        finish(outcomes[0].result())
    else:
        finish_all(outcomes, json=json)


def outcomes_of(what: Start, targets: Sequence[Host]) -> list[Outcome[Path]]:
    """Start everything at once and follow it (unless detached): the run's directory of each host, or its error.

    Ctrl-C says how to come back and exits.
    """
    board = Board(targets)
    if not what.detach:
        warm()
        board.hint()
    try:
        with board:
            return fleet.each(targets, lambda target, leave: what.on(target, board, leave), board.tick)
    except KeyboardInterrupt:
        raise typer.Exit(detached(what.started)) from None


def _left(outcomes: Sequence[Outcome[Path]], *, json: bool) -> None:
    """Print the ids of the runs that were started and left, or a row a host; exit with the greatest code."""
    if json:
        print_json([started_row(one) for one in outcomes])
    elif len(outcomes) == 1:
        outcomes[0].result()
    for one in outcomes:
        if one.value is None:
            complain_of(one.host.name, str(one.error), one.next_command)
        else:
            say(f"started; to see it:\n  labctl attach {one.value.name}")
            if not json:
                typer.echo(one.value.name)
    code = max(one.code for one in outcomes)
    if code != EXIT_OK:
        raise typer.Exit(code)


def started_row(one: Outcome[Path]) -> dict[str, Any]:
    """A host's row, with the keys of a run that was followed to its end."""
    row = {"host": one.host.name, "run": None, "status": "error", "code": one.code, "error": None, "next": ""}
    if one.value is None:
        return row | {"error": str(one.error), "next": one.next_command}
    return row | {"run": one.value.name, "status": "started", "next": f"labctl attach {one.value.name}"}
