"""A server that another run on this host keeps up: found by its run id or its name, asked as if it were one's own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from labctl.runner import api_key, ending, events, processes, record, rundir, series, spec
from labctl.runner.failures import ServerError
from labctl.runner.serving import Endpoint, healthy
from labctl.runner.workloads import Hold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What the record tells of a server: copied, so that this run says by itself what answered it.
_COPIED = ("model", "engine", "server")


@contextmanager
def attached(name: str, run_dir: Path, told: events.Events) -> Iterator[Endpoint]:
    """The running server of this lab called ``name``, for the block; its metrics are kept after it.

    Raises ServerError where there is none, where it does not answer, and where an error in the block is its death.
    """
    other = find(name, run_dir)
    rows = events.read(other)
    for event in _COPIED:
        found = ending.last(rows, event)
        if found is not None:
            told.emit(event, **found, **({"run": other.name} if event == "server" else {}))
    endpoint = _endpoint(ending.last(rows, "server") or {}, other)
    if not healthy(endpoint):
        raise ServerError(f"the server {name} (run {other.name}) does not answer: it is starting or dying")
    try:
        yield endpoint
    except Exception as error:
        if not healthy(endpoint):
            raise ServerError(f"the server {name} (run {other.name}) stopped answering meanwhile") from error
        raise
    series.keep(endpoint, run_dir / rundir.METRICS)


def find(name: str, run_dir: Path) -> Path:
    """The run directory of the running server called ``name``, or with that run id. Raises ServerError."""
    kept = {path: called for path in sorted(run_dir.parent.iterdir()) if (called := _kept(path)) is not None}
    for path, called in kept.items():
        if name in {path.name, called}:
            return path
    names = ", ".join(sorted(kept.values())) or "none"
    raise ServerError(f"no server {name!r} runs on this host (running: {names})")


def _kept(path: Path) -> str | None:
    """What the server that this run keeps up now is called (``labctl ps``); None where it keeps none."""
    try:
        asked = spec.from_json((path / rundir.SPEC).read_text(encoding="utf-8"))
        run = record.from_json((path / rundir.RECORD).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, spec.SpecError, record.RecordError):
        return None
    who = run.supervisor
    here = processes.alive(who.get("pid", 0), who.get("start_ticks", 0), who.get("boot_id", ""))
    if not isinstance(asked.workload, Hold) or run.status != "running" or not here:
        return None
    return (asked.server.name if asked.server else "") or asked.lab


def _endpoint(said: dict[str, Any], other: Path) -> Endpoint:
    port = said.get("port")
    if not isinstance(port, int):
        raise ServerError(f"the server of run {other.name} is not up yet")
    key = api_key.path(other)
    secret = key.read_text(encoding="utf-8").strip() if key.is_file() else ""
    return Endpoint(str(said.get("address")), port, str(said.get("model")), secret, int(said.get("pid") or 0))
