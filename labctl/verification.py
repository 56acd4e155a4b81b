"""Whether a run still holds what its host sealed, and whether its figures follow from its raw files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from labctl import runner_wheel, seals
from labctl.runner import ending, events, figures, phases, rundir

if TYPE_CHECKING:
    from labctl.runs import Run


def problems(run: Run) -> list[str]:
    """One sentence a problem; empty where every checksum and every figure holds. Raises UnreadableRunError."""
    found = seals.check_sums(run.path)
    if run.record.spec_sha256 != rundir.sha256(run.path / rundir.SPEC):
        found.append("the record was made for another spec.json")
    listed = {str(item.get("path")): item.get("sha256") for item in run.record.artifacts}
    sums = {name: digest for name, digest in seals.manifest(run.path).items() if name != rundir.RECORD}
    if listed != sums:
        found.append("the artifacts in the record are not those of the manifest")
    try:
        return found + _figures(run) + _phases(run) + _told(run)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        return [*found, f"the figures cannot be computed from the raw files: {error}"]


def _told(run: Run) -> list[str]:
    """What the record says of model, engine, machine and end, held against the files it was taken from."""
    rows, told = events.read(run.path), run.record
    if told.supervisor.get("converted"):
        return []
    found = [
        f"the record tells another {name} than {rundir.EVENTS}"
        for name in ("model", "engine")
        if getattr(told, name) != ending.last(rows, name)
    ]
    finished = any(row["event"] == "done" for row in rows)
    if told.status == "ok" and not (finished and told.error is None):
        found.append(f"the status ok does not follow from {rundir.EVENTS}")
    node = told.nodes[0] if told.nodes else {}
    machine, packages = run.path / rundir.SYSTEM, run.path / rundir.PACKAGES
    if node and (not machine.is_file() or json.loads(machine.read_text(encoding="utf-8")) != node.get("machine")):
        found.append(f"the record tells another machine than {rundir.SYSTEM}")
    listed = "".join(f"{name}=={version}\n" for name, version in (node.get("packages") or {}).items())
    if node and (not packages.is_file() or packages.read_text(encoding="utf-8") != listed):
        found.append(f"the record tells other packages than {rundir.PACKAGES}")
    return found + [said for rank, node in enumerate(told.nodes[1:], 1) if (said := _other(run, rank, node))]


def _other(run: Run, rank: int, node: dict[str, Any]) -> str:
    """What is wrong with the node of another host of a span; "" where its raw file tells the same."""
    name = rundir.NODE.format(rank=rank)
    if (run.path / name).is_file() and json.loads((run.path / name).read_text(encoding="utf-8")) == node:
        return ""
    return f"the record tells another host than {name}"


def _figures(run: Run) -> list[str]:
    told, again = run.record.metrics, _plain(figures.compute(run.path))
    names = set(told)
    if run.record.supervisor.get("runner_version") == runner_wheel.version():
        # Another runner may know other figures; the same one must have recorded them all.
        names |= set(again)
    wrong = sorted(name for name in names if _numbers(told.get(name)) != _numbers(again.get(name)))
    return [f"figure {name} does not follow from the raw files{_by(run)}" for name in wrong]


def _phases(run: Run) -> list[str]:
    if _plain(phases.timeline(run.path)) == run.record.phases:
        return []
    return [f"the phases do not follow from the raw files{_by(run)}"]


def _by(run: Run) -> str:
    made, here = run.record.supervisor.get("runner_version"), runner_wheel.version()
    return "" if made == here else f" (recorded by runner {made}, computed by {here})"


def _numbers(figure: dict[str, Any] | None) -> dict[str, Any] | None:
    # A note is words for people; another version may word it otherwise.
    return None if figure is None else {key: value for key, value in figure.items() if key != "note"}


def _plain(value: Any) -> Any:
    """As it went through record.json: tuples, floats and None compare alike then."""
    return json.loads(json.dumps(value))
