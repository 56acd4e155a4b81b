"""Golden runs as the READMEs need them: their figures computed anew from the raw files, and where they were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labctl import runs
from labctl.errors import UnreadableRunError
from labctl.report.amounts import finite
from labctl.report.text import DASH, line
from labctl.runner import figures, phases

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class GoldenError(Exception):
    """No figure can be taken from a golden run; the message is one sentence that names it."""


@dataclass(frozen=True)
class Golden:
    """One golden run. ``figures`` and ``phases`` follow from its raw files, not from its record."""

    name: str
    run: runs.Run
    figures: dict[str, dict[str, Any]]
    phases: list[dict[str, Any]]

    def amount(self, figure: str) -> float | None:
        """The value of a figure as a finite number, else None."""
        return finite(self.figures.get(figure, {}).get("value"))

    @property
    def model(self) -> dict[str, Any]:
        """What the record says of the model."""
        return self.run.record.model or {}

    @property
    def asked_model(self) -> str:
        """The model that was asked for."""
        return line(self.model.get("requested") or self.run.spec.model, 160)

    @property
    def state(self) -> str:
        """The start of its engine: ``cold``, ``warm``, ``off`` (nothing is compiled) or unknown."""
        return str(self.figures["compile_cache"]["value"] or "unknown")

    @property
    def date(self) -> str:
        """The UTC day that it began on."""
        return line(self.run.record.anchor.get("utc") or DASH)[:10]

    @property
    def machine(self) -> dict[str, Any]:
        """The probe's facts of the first host."""
        nodes = self.run.record.nodes
        found = nodes[0].get("machine") if nodes else None
        return found if isinstance(found, dict) else {}

    def package(self, name: str) -> str:
        """The version of a package in the first host's environment."""
        nodes = self.run.record.nodes
        return line((nodes[0].get("packages") or {}).get(name) or DASH, 40) if nodes else DASH

    def gpu(self, key: str) -> str:
        """``name`` or ``driver_version`` of the first GPU."""
        gpus = self.machine.get("gpus") or [{}]
        return line(gpus[0].get(key) or DASH, 80)


class Goldens:
    """The golden runs in a folder, each read when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        """``folder``: of run directories, by name."""
        self.folder = folder
        self._read: dict[str, Golden] = {}

    def __call__(self, name: str, state: str = "") -> Golden:
        """The run of a name, whose engine started as ``state`` says. Raises GoldenError."""
        if name not in self._read:
            self._read[name] = _read(self.folder / name)
        found = self._read[name]
        if state and found.state != state:
            raise GoldenError(f"the start of the golden run {name} was not {state} but {found.state}")
        return found


def _read(path: Path) -> Golden:
    if not path.is_dir():
        raise GoldenError(f"there is no golden run {path.name} in {path.parent}")
    try:
        run = runs.load(path)
    except UnreadableRunError as error:
        raise GoldenError(f"the golden run {path.name} cannot be read: {error}") from error
    if run.record.status != "ok":
        raise GoldenError(f"the golden run {path.name} did not end well: {run.record.status}")
    if run.record.supervisor.get("converted"):
        raise GoldenError(f"the golden run {path.name} was assembled from other files, not recorded")
    return Golden(path.name, run, figures.compute(path), phases.timeline(path))


def agreed(goldens: Sequence[Golden], what: str, values: Sequence[str]) -> str:
    """The one value that all of them have. Raises GoldenError: their figures cannot stand side by side."""
    if len(set(values)) != 1:
        told = ", ".join(f"{golden.name}: {value}" for golden, value in zip(goldens, values, strict=True))
        raise GoldenError(f"these golden runs differ in {what}: {told}")
    return values[0]
