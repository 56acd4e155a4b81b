"""Servers that are kept on hosts (``labctl up``), as their runs tell."""

from __future__ import annotations

import contextlib
import csv
import io
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from labctl import runs
from labctl.runner import events, record, rundir, spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from labctl.runner.spec import RunSpec

KIND = "hold"
LOADING, READY, RESTARTING, ENDED = "loading", "ready", "restarting", "ended"
_LAST_PORT = 65535
# A server that binds everywhere is reached at its own host's loopback.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, never bound here


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A kept server.

    ``state``: loading, ready, restarting or ended; ``since``: when that began (UTC by the host's clock, ISO 8601);
    ``detail``: the phase of its start, or why it ended. ``model``: the name that requests give; ``synthetic``: its
    weights are random. ``address`` and ``port``: where it listens there (None while it was never ready). ``restarts``
    of at most ``most``. ``keyed``: it wants an API key; ``chat``: it has a chat template. ``unit``: of systemd, None
    where the runner's own supervisor has it, for ``why_no_unit``. ``open_routes``: paths that answer without the key;
    None where nobody looked.
    """

    host: str
    run: str
    remote_dir: str
    name: str
    model: str
    state: str
    detail: str = ""
    since: str | None = None
    address: str = ""
    port: int | None = None
    restarts: int = 0
    most: int = 0
    keyed: bool = False
    chat: bool = True
    synthetic: bool = False
    unit: str | None = None
    why_no_unit: str | None = None
    open_routes: tuple[str, ...] | None = None

    @property
    def there(self) -> str:
        """The address at which its own host reaches it."""
        return _EVERYWHERE.get(self.address, self.address)

    @property
    def words(self) -> str:
        """Its state in words."""
        if self.state == RESTARTING:
            return f"restarting {self.restarts}/{self.most}"
        return f"{self.state} ({self.detail})" if self.detail else self.state


def name_of(asked: RunSpec) -> str:
    """What the server of a spec is called."""
    return (asked.server.name if asked.server else "") or asked.lab


def read(host: str, remote_dir: str, files: Mapping[str, bytes]) -> Kept | None:
    """A kept server from its run's spec, record and events, whatever they hold; None for a run that keeps none."""
    texts = {name: data.decode(errors="replace") for name, data in files.items()}
    try:
        asked = runs.read_spec(texts.get(rundir.SPEC, ""))
        told = record.from_json(texts[rundir.RECORD]) if texts.get(rundir.RECORD) else None
    except (spec.SpecError, record.RecordError):
        return None
    if asked.workload.kind != KIND or asked.server is None:
        return None
    rows = [row for line in texts.get(rundir.EVENTS, "").split("\n") if (row := events.checked(line))]
    by = told.supervisor if told else {}
    routes = _last(rows, "open_routes")
    server = _last(rows, "server")
    state, detail, t = _state(told, rows)
    return Kept(
        host=host,
        run=remote_dir.rpartition("/")[2],
        remote_dir=remote_dir,
        name=name_of(asked),
        model=str(server.get("model") or asked.model),
        state=state,
        detail=detail,
        since=_moment(told, t),
        address=asked.server.address,
        port=_port(server.get("port", asked.server.port)),
        restarts=sum(row["event"] == "restart" for row in rows),
        most=asked.server.restarts,
        keyed=bool(_last(rows, "hold").get("keyed")),
        chat=server.get("chat_template") != "none",
        synthetic=_last(rows, "model").get("synthetic") is True,
        unit=_text(by.get("unit")),
        why_no_unit=_text(by.get("why")),
        open_routes=_paths(routes) if routes else None,
    )


def of_path(path: Path) -> Kept | None:
    """A kept server as far as its run was mirrored here; None where that says nothing yet."""
    files = {}
    for name in (rundir.SPEC, rundir.RECORD, rundir.EVENTS):
        with contextlib.suppress(FileNotFoundError):
            files[name] = (path / name).read_bytes()
    return read(str(runs.origin(path).get("host")), str(runs.origin(path).get("remote_dir")), files)


def _state(told: record.RunRecord | None, rows: list[dict[str, Any]]) -> tuple[str, str, float | None]:
    """State, detail, and since when (seconds since the run's anchor)."""
    if told is not None and told.status != "running":
        why = (told.error or {}).get("message")
        return ENDED, f"{told.status}: {why}" if why and told.status != "stopped" else told.status, told.ended_s
    for row in reversed(rows):
        if row["event"] == "server":
            return READY, "", row["t"]
        if row["event"] == "restart":
            return RESTARTING, "", row["t"]
    return LOADING, events.open_phase(rows) or "starting", 0.0


def _last(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next((row for row in reversed(rows) if row["event"] == name), {})


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _port(value: object) -> int | None:
    """A port that can be connected to, or None."""
    return value if type(value) is int and 0 < value <= _LAST_PORT else None


def _paths(told: dict[str, Any]) -> tuple[str, ...]:
    found = told.get("open")
    return tuple(str(one.get("path")) for one in found if isinstance(one, dict)) if isinstance(found, list) else ()


def _moment(told: record.RunRecord | None, t: float | None) -> str | None:
    """UTC of a time since the run's anchor."""
    try:
        anchor = datetime.fromisoformat(str(told.anchor["utc"] if told else ""))
        return (anchor + timedelta(seconds=t or 0)).isoformat(timespec="seconds")
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def started_here(runs_dir: Path) -> Iterator[tuple[Path, RunSpec]]:
    """Runs of this project that keep a server and have not come home sealed, newest first."""
    for path in reversed(runs.folders(runs_dir)):
        if (path / rundir.SUMS).is_file():
            continue
        with contextlib.suppress(OSError, UnicodeDecodeError, spec.SpecError):
            asked = runs.read_spec((path / rundir.SPEC).read_text(encoding="utf-8"))
            if asked.workload.kind == KIND:
                yield path, asked


def last_gpu_memory(text: str) -> int | None:
    """Of the beginning and the end of a samples.csv: the sum over the GPUs of its last whole sample."""
    rows = [row for row in csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])) if row.get("t")]
    found = 0
    for row in rows:
        used = row.get("gpu_mem_used") or ""
        if row["t"] == rows[-1]["t"]:
            if not used.isdecimal():
                return None
            found += int(used)
    return found if rows else None
