"""What a real H100 wrote, read by every parser: nothing unknown, nothing of one card's own, and what it shows."""

from __future__ import annotations

import csv
import itertools
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import enginelog, events, figures, phases, rundir
from labctl.runner.figures import passes
from labctl.runner.sampler import COLUMNS
from tests.data import DATA

if TYPE_CHECKING:
    from pathlib import Path

RUNS = {
    path.name.removeprefix("h100-"): path for path in (DATA / "runs").glob("h100-*") if "converted" not in path.name
}
BENCHES = {name: path for name, path in RUNS.items() if name.startswith("bench") and "sampler" not in name}
# What names one card or one chassis (nvidia-smi -q, NVML), and not its kind.
OWN = re.compile(
    r"(?:GPU|MIG)-[0-9a-f]{8}-[0-9a-f-]*|(?<=Serial Number)\s*:\s*\d+|(?<=PDI)\s*:\s*0x[0-9a-f]+", re.IGNORECASE
)


def each(runs: dict[str, Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("run", runs.values(), ids=list(runs))


def samples(run: Path) -> list[dict[str, str]]:
    with (run / rundir.SAMPLES).open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def value(run: Path, name: str) -> Any:
    record = json.loads((run / rundir.RECORD).read_text(encoding="utf-8"))
    return record["metrics"][name]["value"]


def test_they_are_all_there() -> None:
    offline = {"offline-cold", "offline-warm-1", "offline-warm-2", "offline-unkept", "offline-7b"}
    assert set(RUNS) == {*offline, "bench", "bench-7b", "bench-7b-sampler"}


@each(RUNS)
def test_no_figure_of_a_gpu_is_unknown(run: Path) -> None:
    told = figures.compute(run)
    assert [name for name, figure in told.items() if figure["value"] is None] == []
    # 80 GB of HBM3 (85,520,809,984 bytes by NVML), of which 90 or 92 % may be taken.
    assert 0.9 < told["peak_gpu_memory"]["value"] / 85_520_809_984 < 0.96
    assert told["kv_tokens"]["value"] == told["kv_blocks"]["value"] * told["kv_block_size"]["value"]
    assert told["gpu_sm_clock"]["value"] == pytest.approx(1980, abs=30), "the card's highest"
    assert 30 < told["peak_gpu_temperature"]["value"] < 80
    assert 100 < told["gpu_power"]["value"] < 700


@each(RUNS)
def test_nvml_told_everything_five_times_a_second(run: Path) -> None:
    rows = samples(run)
    assert tuple(rows[0]) == COLUMNS
    # CPU shares need two samples; everything else is there from the first.
    assert {name for row in rows for name, cell in row.items() if cell == ""} <= {"cpu", "phase"}
    steps = [float(b["t"]) - float(a["t"]) for a, b in itertools.pairwise(rows)]
    held = "sampler" in run.name  # there it stood still for whole passes
    assert sum(step > 0.3 for step in steps) <= len(steps) * (0.2 if held else 0.01)
    assert sorted(steps)[len(steps) // 2] == pytest.approx(0.2, abs=0.005)


@each(RUNS)
def test_every_phase_of_a_start_on_a_gpu_took_time(run: Path) -> None:
    told = {row["name"]: row for row in phases.timeline(run)}
    wanted = ["import", "config", "engine_import", "init", "weights", "compile", "profiling", "kv_cache"]
    for name in [*wanted, "graph_capture", "engine_warmup"]:
        assert told[name]["seconds"] > 0, name
    capture = told["graph_capture"]
    assert capture["seconds"] > 1
    assert capture["seconds"] == pytest.approx(capture["reported_s"], abs=1), "vLLM says whole seconds"


@each(RUNS)
def test_the_engines_own_lines_were_understood(run: Path) -> None:
    told = {fact.name: fact.fields for fact in enginelog.facts(run)}
    assert {"graph_capture", "available_kv_memory", "kv_cache_tokens", "kv_max_concurrency", "engine_init"} <= set(told)
    assert told["graph_capture"]["gib"] > 0
    assert told["kv_cache_tokens"]["tokens"] == figures.compute(run)["kv_tokens"]["value"]


def test_nothing_names_a_card_that_was_lent() -> None:
    for path in DATA.rglob("*"):
        if path.is_file() and path.suffix in {".json", ".jsonl", ".txt", ".csv", ".log", ".prom"}:
            told = OWN.findall(path.read_text(encoding="utf-8"))
            assert {one for one in told if one.strip("0GPU-: x")} == set(), path


def test_a_warm_start_takes_at_most_half_of_a_cold_one() -> None:
    cold = value(RUNS["offline-cold"], "startup")
    for name in ("offline-warm-1", "offline-warm-2"):
        assert value(RUNS[name], "compile_cache") == "warm"
        assert value(RUNS[name], "startup") <= cold / 2
    # What it is that has to be kept: without Triton's kernels the warm-up takes as long as ever.
    warmups = {
        name: next(row["seconds"] for row in phases.timeline(RUNS[name]) if row["name"] == "engine_warmup")
        for name in ("offline-cold", "offline-warm-1", "offline-unkept")
    }
    assert warmups["offline-unkept"] == pytest.approx(warmups["offline-cold"], rel=0.25)
    assert warmups["offline-warm-1"] < warmups["offline-cold"] / 10


def test_kernels_compiled_in_the_tutorials_loop_are_told_and_the_measured_passes_have_none() -> None:
    told = figures.compute(BENCHES["bench-7b"])
    assert "_topk_topp_kernel" in told["tainted_passes"]["note"]
    assert [told[f"tainted_b{size}"]["value"] for size in (1, 4, 8, 16, 64, 256)] == [0] * 6
    assert told["tutorial_b8"]["value"] < told["throughput_b8"]["value"] / 2


def test_the_large_model_is_bound_by_the_memory_and_the_small_one_by_its_launches() -> None:
    large, small = (figures.compute(BENCHES[name]) for name in ("bench-7b", "bench"))
    assert large["bandwidth_utilisation_b1"]["value"] > 70
    assert small["bandwidth_utilisation_b1"]["value"] < 5
    assert large["gpu_util"]["value"] > 95
    assert small["gpu_util"]["value"] < 50
    rates = [large[f"throughput_b{size}"]["value"] for size in (1, 4, 8, 16, 64, 256)]
    assert rates == sorted(rates)


def test_nearly_every_sample_of_the_largest_batch_was_at_the_power_limit() -> None:
    run = BENCHES["bench-7b"]
    last = [row for row in passes.passes(events.read(run)) if row["phase"] == "generate" and row.get("size") == 256]
    there = [row for row in samples(run) if any(one["began"] < float(row["t"]) < one["t"] for one in last)]
    assert sum(int(row["throttle"]) & 0x4 > 0 for row in there) > 0.9 * len(there) > 20


def test_at_large_batches_the_power_limit_held_the_clocks_back() -> None:
    told = figures.compute(BENCHES["bench-7b"])
    assert told["throttle_sw_power_cap"]["value"] == told["gpu_throttled"]["value"] > 10
    assert figures.compute(BENCHES["bench"])["gpu_throttled"]["value"] == 0
