from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from labctl.runner import phases, rundir
from tests.data.convert_captures import stamped, write_log

DATA = Path(__file__).parents[1] / "data"


def assemble(run_dir: Path, log: Path, events: list[dict[str, Any]]) -> None:
    """A run directory from a captured log: its own clock times stand for the arrival stamps."""
    write_log(run_dir, stamped(log.read_text(encoding="utf-8", errors="replace")))
    (run_dir / rundir.EVENTS).write_text("".join(json.dumps(event) + "\n" for event in events))


ENGINE = [{"t": 0.0, "event": "begin", "phase": "engine"}, {"t": 500.0, "event": "end", "phase": "engine"}]


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["name"] for row in rows]


def test_the_start_of_a_real_h100_engine(tmp_path: Path) -> None:
    assemble(tmp_path, DATA / "h100-vllm-0.25.1" / "offline-qwen2.5-7b.log", ENGINE)
    rows = phases.timeline(tmp_path)
    assert names(rows) == [
        "config", "engine_import", "init", "weights", "compile", "profiling", "kv_cache", "graph_capture",
        "engine_warmup", "ready",
    ]  # fmt: skip
    by_name = {row["name"]: row for row in rows}
    assert by_name["compile"]["reported_s"] == pytest.approx(17.7, abs=8)
    assert by_name["compile"]["seconds"] == pytest.approx(by_name["compile"]["reported_s"], abs=4)
    assert by_name["graph_capture"]["reported_s"] == pytest.approx(by_name["graph_capture"]["seconds"], abs=2)


@pytest.mark.parametrize("kind", ["cold", "warm"])
def test_the_start_of_a_real_cpu_engine(tmp_path: Path, kind: str) -> None:
    assemble(tmp_path, DATA / "cpu-vllm-0.32.0-logs" / f"offline-compiled-{kind}.log", ENGINE)
    found = names(phases.timeline(tmp_path))
    start = ["config", "engine_import", "init", "weights", "compile", "profiling"]
    assert found == [*start, "kv_cache", "engine_warmup", "ready"]


def test_the_start_of_a_real_server_tells_its_first_process_apart(tmp_path: Path) -> None:
    assemble(tmp_path, DATA / "cpu-vllm-0.32.0-logs" / "server-eager.log", ENGINE)
    start = ["server_import", "config", "engine_import", "init", "weights", "profiling", "kv_cache", "engine_warmup"]
    assert names(phases.timeline(tmp_path)) == [*start, "ready"]


def test_the_start_of_a_real_h100_server(tmp_path: Path) -> None:
    assemble(tmp_path, DATA / "h100-vllm-0.25.1" / "server-qwen2.5-7b-start-warm.log", ENGINE)
    found = names(phases.timeline(tmp_path))
    assert found[:3] == ["server_import", "config", "engine_import"]
    assert found[-3:] == ["graph_capture", "engine_warmup", "ready"]


def test_phases_follow_each_other_without_gap(tmp_path: Path) -> None:
    assemble(tmp_path, DATA / "h100-vllm-0.25.1" / "offline-qwen2.5-7b.log", ENGINE)
    rows = phases.timeline(tmp_path)
    for before, after in itertools.pairwise(rows):
        assert after["start"] == pytest.approx(before["start"] + before["seconds"])
    assert sum(row["seconds"] for row in rows) == pytest.approx(500.0)


def test_a_run_that_died_names_the_last_place(tmp_path: Path) -> None:
    log = tmp_path / "cut.log"
    text = (DATA / "h100-vllm-0.25.1" / "offline-qwen2.5-7b.log").read_text()
    log.write_text(text[: text.index("torch.compile took")])
    assemble(tmp_path, log, [{"t": 0.0, "event": "begin", "phase": "engine"}])
    rows = phases.timeline(tmp_path)
    assert rows[-1]["name"] == "engine"
    assert rows[-1]["seconds"] is None
    assert phases.where_it_died(rows) == "engine, after compile"


def test_a_log_nobody_knows_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "noise.log").write_bytes(b"\xff\xfe what is this\n" * 50 + b"INFO something new [x.py:1] took 3 s\n")
    assemble(tmp_path, tmp_path / "noise.log", ENGINE)
    assert names(phases.timeline(tmp_path)) == ["ready"]


def test_worker_events_alone(tmp_path: Path) -> None:
    events = [
        {"t": 0.2, "event": "begin", "phase": "import"},
        {"t": 5.0, "event": "end", "phase": "import"},
        {"t": 5.0, "event": "begin", "phase": "model"},
    ]
    (tmp_path / rundir.EVENTS).write_text("".join(json.dumps(e) + "\n" for e in events) + '{"t": 6.0, "ev')
    assert phases.timeline(tmp_path) == [
        {"name": "import", "start": 0.2, "seconds": 4.8, "source": "events.jsonl:1-2", "reported_s": None},
        {"name": "model", "start": 5.0, "seconds": None, "source": "events.jsonl:3", "reported_s": None},
    ]
    assert phases.where_it_died(phases.timeline(tmp_path)) == "engine"
