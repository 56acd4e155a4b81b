"""The timeline of a run: worker events, refined by the engine's own log lines as they arrived. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.runner import enginelog, events, rundir

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labctl.runner.enginelog import Told

# Fact -> the phase that its line ends. The order is the log's own: it differs between GPU and CPU workers.
CLOSES = {
    "server_version": "server_import",  # of a server, whose first process says so once it has all it needs
    "max_model_len": "config",
    "engine_start": "engine_import",
    "load_start": "init",
    "weights_loading": "weights",
    "model_loading": "weights",
    "compile_total": "compile",
    "compile_cache_saved": "compile",
    "cpu_warmup": "compile",
    "profiling_run": "profiling",
    "available_kv_memory": "profiling",
    "kv_cache_tokens": "kv_cache",
    "graph_capture_start": "kv_cache",
    "graph_capture": "graph_capture",
    "engine_init": "engine_warmup",
}


def timeline(run_dir: Path) -> list[dict[str, Any]]:
    """Phases as {"name", "start" (s), "seconds", "source", "reported_s" (s or None)}, in order, not overlapping.

    A phase that never ended (a run that died) has ``seconds`` None.
    """
    told = enginelog.facts(run_dir)
    rows: list[dict[str, Any]] = []
    for begin, end in _pairs(events.read(run_dir)):
        name = str(begin.get("phase"))
        if name == "engine":
            rows += _engine(begin, end, told)
        else:
            stop = None if end is None else end["t"]
            lines = f"{begin['line']}" + (f"-{end['line']}" if end else "")
            rows.append(row(name, begin["t"], stop, f"{rundir.EVENTS}:{lines}"))
    return rows


def where_it_died(rows: list[dict[str, Any]]) -> str:
    """Name the place in the engine's start that was never left: ``engine, after weights``."""
    done = [one["name"] for one in rows if one["seconds"] is not None and one["name"] in CLOSES.values()]
    return f"engine, after {done[-1]}" if done else "engine"


def row(name: str, start: float, stop: float | None, source: str, reported: float | None = None) -> dict[str, Any]:
    """One phase; ``stop`` None where it never ended."""
    seconds = None if stop is None else round(stop - start, 3)
    return {"name": name, "start": round(start, 3), "seconds": seconds, "source": source, "reported_s": reported}


def _pairs(rows: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """(begin, end or None) of each phase in order."""
    for position, begin in enumerate(rows):
        if begin["event"] != "begin":
            continue
        phase = begin.get("phase")
        ends = (r for r in rows[position:] if r["event"] == "end" and r.get("phase") == phase)
        yield begin, next(ends, None)


def _engine(begin: dict[str, Any], end: dict[str, Any] | None, told: list[Told]) -> list[dict[str, Any]]:
    """Split the engine's start at the lines that close a phase; what is left until it answered is ``ready``."""
    stop = end["t"] if end else float("inf")
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    start = begin["t"]
    for fact in told:
        phase = CLOSES.get(fact.name)
        if phase is None or not start <= fact.t <= stop or fact.fields.get("stage", "done") != "done":
            continue
        # After "init engine took" the second engine config of the front end prints some of the lines again.
        if rows and rows[-1]["name"] == "engine_warmup":
            break
        if any(one["name"] == phase for one in rows[:-1]):
            continue  # processes repeat some lines; a phase is over once the next one is
        if fact.name == "graph_capture_start" and fact.name in seen:
            continue  # a progress bar prints its line again and again: the first one began the capture
        seen.add(fact.name)
        if fact.name == "cpu_warmup" and any(one["name"] == "profiling" for one in rows):
            # The CPU worker compiles within its warm-up; where its compiler says so itself, that was told before.
            phase = "profiling"
        # What vLLM calls the engine's initialisation takes in several phases: a figure of its own.
        reported = None if fact.name == "engine_init" else fact.fields.get("seconds")
        source = f"{rundir.ENGINE_LOG}:{fact.line}"
        if rows and rows[-1]["name"] == phase:
            last = rows.pop()
            rows.append(row(phase, last["start"], fact.t, source, reported or last["reported_s"]))
        else:
            rows.append(row(phase, start, fact.t, source, reported))
        start = fact.t
    last_stop = end["t"] if end else None
    rows.append(row("ready" if end else "engine", start, last_stop, f"{rundir.EVENTS}:{begin['line']}"))
    return rows
