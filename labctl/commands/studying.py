"""Leads a study: point after point on one host, each a run that is started, followed and fetched like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from labctl import studies, study_files
from labctl.commands.board import Board
from labctl.errors import LabError, RunGoneError, UnreadableRunError, UsageError
from labctl.grids import words
from labctl.studies import DONE, REFUSED, RUNNING, WAITING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labctl.fleet import Leave
    from labctl.inventory import Host
    from labctl.runner.spec import RunSpec
    from labctl.studies import Point, Study


class _RefusedError(UsageError):
    """The vLLM that the host turned out to have takes no such point."""


class PointBoard(Board):
    """A board whose rows say which point of a host's study it is about; a point's end is not the host's."""

    def __init__(self, targets: list[Host]) -> None:
        """One row a host."""
        super().__init__(targets)
        self._points: dict[str, str] = {}

    def point(self, host: str, number: int, of: int, values: str) -> None:
        """A host goes on to its next point."""
        self._points[host] = f"{number}/{of} {values}: "
        self.run(host, "")

    def state(self, host: str, text: str) -> None:
        """What a host does now, after the point that it does it for."""
        super().state(host, self._points.get(host, "") + text)

    def done(self, host: str, text: str) -> None:
        """A point is through."""
        self.state(host, text)


class Lead(NamedTuple):
    """How studies are led; ``again``: failed points too are run again."""

    runs_dir: Path
    board: PointBoard
    patience: float
    again: bool = False

    def study(self, study: Study, target: Host, leave: Leave) -> Study:
        """Run what is not done of a study. Raises LabError (the host's, not a point's), LeftError."""
        done = [status for status in DONE if status != "failed" or not self.again]
        try:
            self._all(study, target, leave, done)
        except UsageError:
            if not any(point.run for point in study.points):
                study_files.forget(self.runs_dir, study)  # this host cannot have it
            raise
        return study

    def _all(self, study: Study, target: Host, leave: Leave, done: Sequence[str]) -> None:
        with study_files.leading(self.runs_dir, study.study), self.board.watching(target.name):
            study_files.renew(self.runs_dir, study)  # another labctl may have led it since it was read
            for number, point in enumerate(study.points, 1):
                if point.status in done:
                    continue
                leave.check()
                self.board.point(target.name, number, len(study.points), words(point.values))
                self._one(study, point, target, leave)
                study_files.save(self.runs_dir, study)
                if point.status == WAITING:
                    raise LabError(f"{target.name}: {point.error}", resume(study))

    def _one(self, study: Study, point: Point, target: Host, leave: Leave) -> None:
        """Follow a point's run that goes on, or start one; what came of it stands in the point then."""
        if point.status == RUNNING and self._followed(point, leave):
            return
        point.run, point.error = None, ""
        try:
            self._start(study, point, target, leave)
        except _RefusedError as error:
            point.status, point.error = REFUSED, str(error)
            return
        except LabError:
            if point.run:
                studies.look(self.runs_dir, point)
                study_files.save(self.runs_dir, study)
            raise
        studies.look(self.runs_dir, point)

    def _followed(self, point: Point, leave: Leave) -> bool:
        """Whether the run of a point was there to be followed, and is through."""
        from labctl.commands.remote import accompany, line_to

        try:
            with line_to(point.run) as where:
                accompany(where, self.board, leave, self.patience)
        except (UnreadableRunError, RunGoneError):
            studies.look(self.runs_dir, point)
            if point.status == RUNNING:
                raise
            return point.status in DONE
        studies.look(self.runs_dir, point)
        return True

    def _start(self, study: Study, point: Point, target: Host, leave: Leave) -> None:
        from labctl.commands.fitting import fit
        from labctl.commands.starting import Start

        def build(_target: Host, vllm: str) -> RunSpec:
            study.settle(vllm)
            try:
                return study.spec(point, vllm)
            except UsageError as error:
                raise _RefusedError(str(error)) from error

        def named(path: Path) -> None:
            studies.note(path, study, point)
            point.run, point.status = path.name, RUNNING
            study_files.save(self.runs_dir, study)

        specs = {target.name: build(target, study.vllm)}
        look = fit(study.asked["lab"])
        start = Start(self.runs_dir, specs, build, detach=False, patience=self.patience, note=named, look=look)
        start.on(target, self.board, leave)


def resume(study: Study) -> str:
    """The command that goes on with a study."""
    return f"labctl study {study.study} --resume"
