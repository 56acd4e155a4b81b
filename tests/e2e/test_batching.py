"""One load in three ways on a real server, and what the record says of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.test_line import EAGER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Project

SMALL = ("requests=10", "seconds=2", "prompt_tokens=8,140", "output_tokens=8,40", "static=4")
WAYS = ("continuous", "static", "alone")


@pytest.fixture(scope="module")
def line(project: Project) -> tuple[Project, str, Path]:
    """The lab, smaller: four places in the server as in a static batch."""
    words = [part for word in SMALL for part in ("--workload", word)]
    said = project("run", "batching", "--host", "local", *EAGER, "--engine", "max_num_seqs=4", *words)
    return project, said, project.newest()


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (run / name).read_text().splitlines()]


def test_each_way_answers_the_same_load_exactly(line: tuple[Project, str, Path]) -> None:
    _, _, run = line
    lives = rows(run, "arrivals.jsonl")
    assert {life["error"] for life in lives} == {None}
    loads = {way: sorted((one["planned_s"], one["prompt_tokens"], one["output_tokens"]) for one in lives
                         if one["way"] == way) for way in WAYS}  # fmt: skip
    assert loads["continuous"] == loads["static"] == loads["alone"]
    assert len(loads["alone"]) == 10
    assert all(8 <= prompt <= 140 and 8 <= output <= 40 for _, prompt, output in loads["alone"])
    assert all(one["planned_s"] <= one["sent_s"] < one["first_s"] <= one["done_s"] for one in lives)


def test_a_static_batch_waits_for_the_one_before(line: tuple[Project, str, Path]) -> None:
    _, _, run = line
    static = {one["request"]: one for one in rows(run, "arrivals.jsonl") if one["way"] == "static"}
    for batch in ((4, 5, 6, 7), (8, 9)):
        ended = max(static[number]["done_s"] for number in range(batch[0] - 4, batch[0]))
        assert min(static[number]["sent_s"] for number in batch) >= ended


def test_the_figures_say_what_batching_gives(line: tuple[Project, str, Path]) -> None:
    project, _, run = line
    found = project.record(run)["metrics"]
    value = {name: figure["value"] for name, figure in found.items()}
    assert value["makespan_continuous"] < value["makespan_alone"]
    assert value["ratio_alone"] == pytest.approx(value["throughput_continuous"] / value["throughput_alone"], abs=0.01)
    assert value["ratio_alone"] > 1.2, "ten requests one after another cost more than four at a time"
    assert 1 < value["running_continuous"] <= 4, "the server has four places"
    assert value["running_alone"] == 1
    assert 0 < value["kv_usage_continuous"] <= 100
    assert {value[f"failed_{way}"] for way in WAYS} == {0}
    assert {value[f"prefix_hits_{way}"] for way in WAYS} == {0.0}, "each way has prompts of its own"
    assert value["series_rate"] == pytest.approx(5.0, abs=1.0)


def test_the_servers_metrics_were_seen_all_along(line: tuple[Project, str, Path]) -> None:
    _, _, run = line
    scraped = rows(run, "metrics/series.jsonl")
    assert {row["way"] for row in scraped} == set(WAYS)
    assert [row["t"] for row in scraped] == sorted(row["t"] for row in scraped)
    counted = [row["output_tokens"] for row in scraped]
    assert counted == sorted(counted), "a counter never falls"


def test_verify_computes_the_same_from_the_raw_files(line: tuple[Project, str, Path]) -> None:
    project, _, run = line
    assert "0 problems" in project("verify", run.name)
