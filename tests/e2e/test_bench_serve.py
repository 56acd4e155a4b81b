"""vLLM's own serving benchmark against a real server: a running one with an API key, and one of its own that dies."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import events, figures, load, processes, rundir, series, spec
from labctl.runner.figures import counters
from tests.e2e.conftest import until
from tests.e2e.test_line import EAGER

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner.serving import Endpoint
    from tests.e2e.conftest import Project

SMALL = {"requests": 4, "rounds": 1, "input_tokens": 160, "output_tokens": 12, "warmups": 1}


@pytest.fixture(scope="module")
def measured(project: Project, server: Endpoint) -> Path:
    """A benchmark of the shared server, by the runner in that server's lab, as `labctl run bench-serve --server`."""
    assert server.key
    lab = project.folder / ".labctl" / "shared"
    run_dir = lab / "runs" / f"bench-{os.getpid()}"
    run_dir.mkdir()
    work = {"kind": "serve_bench", "server": f"shared-{os.getpid()}", "rates": [4.0], "goodput": {"ttft": 60000}}
    asked = {"lab": "bench-serve", "model": "of/the-server", "sampling": {"temperature": 0.0}}
    (run_dir / rundir.SPEC).write_text(spec.from_dict({**asked, "workload": {**work, **SMALL}}).to_json())
    subprocess.run([project.lab_dir / "env/bin/python", "-I", "-m", "labctl.runner", run_dir], check=True)
    until((run_dir / rundir.SUMS).is_file, 180)
    return run_dir


def record(run_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_dir / rundir.RECORD).read_text())
    return found


def test_a_running_server_is_measured(measured: Path, server: Endpoint) -> None:
    told = record(measured)
    assert told["status"] == "ok", told["error"]
    value = {name: figure["value"] for name, figure in told["metrics"].items()}
    assert (value["completed_r4"], value["failed_r4"], value["flagged_points"]) == (4.0, 0.0, 0)
    assert (value["prefix_hits_r4"], value["goodput_r4"]) == (0.0, value["request_rate_r4"])
    assert 0 < value["itl_r4"] <= value["ttft_p99_r4"] <= value["e2el_p99_r4"]
    assert told["metrics"]["throughput_r4"]["sources"] == ["bench/serve-01.json"]
    said = [row for row in events.read(measured) if row["event"] == "server"]
    assert [(row["run"], row["port"]) for row in said] == [(f"shared-{os.getpid()}", server.port)]


def test_the_clients_json_is_its_own_and_verifies(measured: Path) -> None:
    result = json.loads((measured / "bench" / "serve-01.json").read_text())
    assert result["num_prompts"] == 4
    assert result["request_rate"] == 4.0
    assert result["total_output_tokens"] == 4 * 12
    assert len(result["ttfts"]) == 4
    assert {"median_ttft_ms", "p99_tpot_ms", "p95_itl_ms", "p90_e2el_ms"} < set(result)
    plain = json.loads(json.dumps(figures.compute(measured)))
    assert plain == record(measured)["metrics"]


def test_the_clients_own_words_are_in_the_log_and_the_key_is_nowhere(measured: Path, server: Endpoint) -> None:
    log = (measured / rundir.ENGINE_LOG).read_text()
    assert "Serving Benchmark Result" in log
    assert "4/4" in log, "its progress"
    for name in rundir.files(measured):
        assert server.key.encode() not in (measured / name).read_bytes(), name


def test_a_prompt_that_was_sent_before_is_told_by_the_counters(tmp_path: Path, server: Endpoint) -> None:
    prompt = load.prompt(random.Random(time.time_ns()), 300, load.vocabulary(""))  # noqa: S311 - a prompt
    for name in ("fresh", "warm"):
        series.keep(server, tmp_path / rundir.before(name))
        life = load.live(server, load.Asked(prompt, 2), {}, time.monotonic())
        assert (life.error, life.prompt_tokens, life.output_tokens) == (None, 300, 2)
        series.keep(server, tmp_path / rundir.after(name))
    found = [counters.hits(tmp_path, name) for name in ("fresh", "warm")]
    assert [figure.value for figure in found] == [0.0, 256.0], "whole blocks, 128 tokens each on a CPU"
    assert found[1].note == "of 300 looked up"


def test_no_server_of_that_name(project: Project, measured: Path) -> None:
    run_dir = measured.with_name(f"nobody-{os.getpid()}")
    run_dir.mkdir()
    told = json.loads((measured / rundir.SPEC).read_text())
    told["workload"]["server"] = "nobody"
    (run_dir / rundir.SPEC).write_text(spec.from_dict(told).to_json())
    subprocess.run([project.lab_dir / "env/bin/python", "-I", "-m", "labctl.runner", run_dir], check=True)
    until((run_dir / rundir.SUMS).is_file, 60)
    error = record(run_dir)["error"]
    assert error["kind"] == "server"
    assert "no server 'nobody' runs on this host (running: shared)" in error["message"]


def test_a_server_of_its_own_that_dies_in_a_point(project: Project) -> None:
    words = [part for key, value in {**SMALL, "requests": 60, "output_tokens": 60, "reset": "cache"}.items()
             for part in ("--workload", f"{key}={value}")]  # fmt: skip
    before = set((project.lab_dir / "runs").iterdir())
    running = project.start("run", "bench-serve", "--host", "local", *EAGER, "--concurrency", "1", *words)
    until(lambda: running.poll() is not None or set((project.lab_dir / "runs").iterdir()) - before)
    assert running.poll() is None, running.communicate()
    run_id = (set((project.lab_dir / "runs").iterdir()) - before).pop().name
    log = project.lab_dir / "runs" / run_id / rundir.ENGINE_LOG
    until(lambda: log.is_file() and "0/60" in log.read_text(errors="replace"), 180)
    told = project.host_events(run_id)
    assert [row["prefix_cache_reset"] for row in told if row["event"] == "begin" and row["phase"] == "point"] == [True]
    os.kill(next(row["pid"] for row in told if row["event"] == "server"), signal.SIGKILL)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 1, out + err
    run = project.runs_dir / run_id
    error = project.record(run)["error"]
    assert (error["kind"], error["phase"]) == ("server", "point")
    assert "vllm serve was killed by signal 9" in error["message"]
    assert (run / "bench" / "serve-01.json").is_file(), "what the client saw stays"
    value = {name: figure["value"] for name, figure in project.record(run)["metrics"].items()}
    assert value["failed_c1"] > 50
    assert processes.of_run(project.lab_dir / "runs" / run_id) == []
    assert "0 problems" in project("verify", run_id)
