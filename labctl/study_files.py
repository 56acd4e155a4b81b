"""Where studies lie: ``studies/ID.json`` beside ``runs/``, written whole or not at all, led by one labctl at a time."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from labctl.errors import LabError, TransferError, UnreadableRunError, UsageError
from labctl.runner import rundir
from labctl.studies import SCHEMA, Point, Study, look_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def folder(runs_dir: Path) -> Path:
    """Where the studies of a project lie."""
    return runs_dir.parent / "studies"


def place(runs_dir: Path, study: Study) -> Path:
    """The file of a study."""
    return folder(runs_dir) / f"{study.study}.json"


def create(runs_dir: Path, study: Study) -> None:
    """Write a new study under an id that no other has. Raises TransferError, UsageError."""
    home = folder(runs_dir)
    stem = study.study
    try:
        json.dumps(asdict(study)).encode()
        home.mkdir(exist_ok=True)
        for number in range(1, 100):
            study.study = stem if number == 1 else f"{stem}-{number}"
            if _claimed(home, study.study):
                save(runs_dir, study)
                return
    except (TypeError, UnicodeEncodeError) as error:
        raise UsageError(f"the lab {study.lab} holds something that no text can hold: {error}") from error
    except OSError as error:
        raise TransferError(f"cannot write {home}: {error.strerror or error}") from error
    raise TransferError(f"{home} has a hundred studies of this second already")


def _claimed(home: Path, study_id: str) -> bool:
    """Whether an id is ours from now on; by its lock, so that the study itself appears whole or not at all."""
    try:
        (home / f".{study_id}.lock").open("x").close()
    except FileExistsError:
        return False
    return not (home / f"{study_id}.json").exists()


def save(runs_dir: Path, study: Study) -> None:
    """Write a study anew, whole or not at all. Raises TransferError."""
    path = place(runs_dir, study)
    try:
        rundir.write_atomic(path, (json.dumps(asdict(study), indent=1, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise TransferError(f"cannot write {path}: {error.strerror or error}") from error


def forget(runs_dir: Path, study: Study) -> None:
    """Remove a study of which nothing was ever started."""
    place(runs_dir, study).unlink(missing_ok=True)


def known(runs_dir: Path) -> list[str]:
    """Ids of the studies that are here, oldest first."""
    home = folder(runs_dir)
    return sorted(path.stem for path in home.glob("*.json")) if home.is_dir() else []


def find(runs_dir: Path, name: str | None) -> Study:
    """A study by its id, a part of one, or None for the newest. Raises UnreadableRunError."""
    ids = known(runs_dir)
    near = [one for one in ids if name == one] or [one for one in ids if name is None or name in one]
    if not near:
        raise UnreadableRunError(f"there is no study {name or 'yet'} in {folder(runs_dir)}", "labctl studies")
    if name is not None and len(near) > 1:
        raise UnreadableRunError(f"{name} could be {len(near)} studies: {', '.join(near[:5])}", "labctl studies")
    return load(runs_dir, near[-1])


def load(runs_dir: Path, study_id: str) -> Study:
    """One study, each point as its run here says. Raises UnreadableRunError (not JSON, another shape, newer schema)."""
    study = _read(folder(runs_dir) / f"{study_id}.json")
    look_at(runs_dir, study)
    return study


def _read(path: Path) -> Study:
    """A study as its file has it. Raises UnreadableRunError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data.get("schema"), int) or data["schema"] > SCHEMA:
            raise UnreadableRunError(f"{path} has schema {data.get('schema')!r}; this labctl reads up to {SCHEMA}")
        return Study(**{**data, "points": [Point(**point) for point in data["points"]]})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UnreadableRunError(f"{path} is no readable study: {error}") from error


def renew(runs_dir: Path, study: Study) -> None:
    """Take over what another labctl has made of a study since it was read. Raises UnreadableRunError."""
    now = load(runs_dir, study.study)
    study.points, study.vllm = now.points, now.vllm


def settle(runs_dir: Path, study: Study) -> None:
    """Write down what the runs have come to since; one that is being led is its leader's to write."""
    with suppress(LabError, OSError):
        if _read(place(runs_dir, study)) == study:
            return
        with leading(runs_dir, study.study):
            renew(runs_dir, study)
            save(runs_dir, study)


@contextmanager
def leading(runs_dir: Path, study_id: str) -> Iterator[None]:
    """Be the only labctl that leads a study; the kernel lets go of it with the process. Raises LabError."""
    with (folder(runs_dir) / f".{study_id}.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = file.read().strip() or "another labctl"
            raise LabError(f"{study_id} is being led by {who} already") from None
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        yield
