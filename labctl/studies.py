"""Studies: one file that names the runs of one grid on one host, ``studies/ID.json`` beside ``runs/``.

{"schema", "study", "lab", "host", "vary": [[key, [values]]], "points": [{"values", "run", "status", "error"}],
"vllm", "made_utc", "asked"}. Status of a point: ``waiting``, ``running``, a record's ``ok``, ``failed``, ``stopped``
or ``lost``, or ``refused`` (no spec can be made of it). ``asked`` is what a resume builds the specs from again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from labctl import fates, labs, runs
from labctl.errors import LabError, TransferError, UnreadableRunError, UsageError
from labctl.grids import Axis, lay, points, words
from labctl.runner import rundir

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from labctl.runner.spec import RunSpec

SCHEMA = 1
WAITING, RUNNING, REFUSED = "waiting", "running", "refused"
# What a resume leaves as it is; a lost or stopped point has shown nothing, so it is run again.
DONE = ("ok", "failed", REFUSED)
# Whose figures stand in the study, or will.
MEASURED = ("ok", "failed", RUNNING)
# Errors of a run that say nothing of its point: it waits for a better moment.
NOT_ITS_OWN = ("busy", "disk_full")


@dataclass
class Point:
    """One combination of values, and what came of it; ``error`` one sentence."""

    values: dict[str, Any]
    run: str | None = None
    status: str = WAITING
    error: str = ""


@dataclass
class Study:
    """A grid on a host. ``asked``: {"lab": as read, "over": what was laid over it, "env": forwarded settings}."""

    study: str
    lab: str
    host: str
    vary: list[list[Any]]
    points: list[Point]
    vllm: str
    made_utc: str
    asked: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def spec(self, point: Point, vllm: str) -> RunSpec:
        """The spec of one point for a version of vLLM. Raises UsageError where there can be none."""
        over = lay(point.values, self.asked["over"])
        return labs.build(self.asked["lab"], vllm=vllm, env=self.asked["env"], **over)

    def place(self, point: Point) -> int:
        """Its index, by identity."""
        return next(number for number, one in enumerate(self.points) if one is point)

    def settle(self, vllm: str) -> None:
        """Take the version that the host has as the study's. Raises LabError where points were run with another."""
        if vllm != self.vllm and any(point.run and point.status in MEASURED for point in self.points):
            raise LabError(
                f"{self.host} has vLLM {vllm} now, and points of {self.study} were run with {self.vllm}; "
                f"a study compares runs of one version: begin a new one (labctl run {self.lab} --vary …), "
                f"or provision {self.host} with vllm_version={self.vllm} again"
            )
        self.vllm = vllm

    def count(self, *statuses: str) -> int:
        """How many points have one of these statuses."""
        return sum(point.status in statuses for point in self.points)


def plan(lab: Mapping[str, Any], host: str, vllm: str, varied: Sequence[Axis], **asked: Any) -> Study:
    """A study of all points, those that no spec can be made of refused already.

    ``asked``: ``over`` and ``env`` of ``labs.build``. Raises UsageError where not one point can be run, or two are
    the same (max_num_seqs=16,016).
    """
    made = datetime.now(UTC)
    study = Study(
        study=f"{made:%Y%m%dT%H%M%SZ}-{host}-{lab['lab']}-study",
        lab=str(lab["lab"]),
        host=host,
        vary=[[axis.key, list(axis.values)] for axis in varied],
        points=[Point(values) for values in points(varied)],
        vllm=vllm,
        made_utc=made.isoformat(timespec="seconds"),
        asked={"lab": dict(lab), **asked},
    )
    lay(study.points[0].values, study.asked["over"])  # options that contradict the grid are no point's fault
    seen: dict[str, Point] = {}
    for point in study.points:
        try:
            same = seen.setdefault(study.spec(point, vllm).sha256(), point)
        except UsageError as error:
            point.status, point.error = REFUSED, str(error)
            continue
        if same is not point:
            raise UsageError(
                f"two points of that grid are one and the same run: {words(same.values)}, and {words(point.values)}"
            )
    if study.count(REFUSED) == len(study.points):
        raise UsageError(f"no point of that grid can be run: {study.points[0].error}")
    return study


def look_at(runs_dir: Path, study: Study) -> None:
    """Ask the run of each point that is not done; one that was started just before labctl was killed is found too."""
    unnamed = [point for point in study.points if point.run is None and point.status == WAITING]
    if unnamed:
        noted = _noted(runs_dir, study.study)
        for point in unnamed:
            point.run = noted.get(study.place(point))
    for point in study.points:
        if point.run and point.status not in DONE:
            look(runs_dir, point)


def _noted(runs_dir: Path, study_id: str) -> dict[int, str]:
    """{index of a point: the newest run here that names it}."""
    found = {}
    for path in sorted(runs_dir.glob(f"*/{runs.STUDY}")):
        note = fates.note(path)
        if note.get("study") == study_id and isinstance(note.get("point"), int):
            found[note["point"]] = path.parent.parent.name
    return found


def look(runs_dir: Path, point: Point) -> None:
    """Take over what a point's run came to; a run that is not sealed here counts as running."""
    path = runs_dir / str(point.run)
    if not runs.is_run(path):
        point.run, point.status, point.error = None, WAITING, ""
        return
    if not (path / rundir.SUMS).is_file():
        _unsealed(path, point)
        return
    try:
        told = runs.load(path).record
    except UnreadableRunError as error:
        point.status, point.error = "lost", str(error)
        return
    why = told.error or {}
    point.status, point.error = told.status, str(why.get("message") or "")
    if told.status == "failed" and why.get("kind") in NOT_ITS_OWN:
        point.run, point.status = None, WAITING


def _unsealed(path: Path, point: Point) -> None:
    """What a run is whose end is not here: one of a silent host may go on, one that its host has no more is lost."""
    known = fates.noted(path)
    point.status, point.error = RUNNING, ""
    if known.get("status") == "not started":
        point.run, point.status = None, WAITING
    elif known.get("status") == "lost":
        point.status, point.error = "lost" if known.get("gone") is True else RUNNING, str(known.get("why") or "")


def note(path: Path, study: Study, point: Point) -> None:
    """Name the study in a run's directory here, before anything is started. Raises TransferError."""
    said = {"study": study.study, "point": study.place(point), "values": point.values}
    try:
        rundir.write_atomic(path / runs.STUDY, (json.dumps(said, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise TransferError(f"cannot write {path / runs.STUDY}: {error.strerror or error}") from error
