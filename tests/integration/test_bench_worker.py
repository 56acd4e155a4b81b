"""The worker over batch sizes, with the stand-in for vLLM: what is asked of the engine, and in which order."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from labctl.runner import rundir, spec

ROOT = Path(__file__).parents[2]
STAND_IN = ROOT / "tests" / "hosts" / "stand_in"
TABLE = ROOT / "labctl" / "argtables" / "data" / "vllm-0.32.0.json"
ASKED: dict[str, Any] = {
    "lab": "bench",
    "workload": {"kind": "batches", "sizes": [3, 1], "warmup": 1, "repeats": 2, "prompt": "Tell me a story"},
    "sampling": {"max_tokens": 5},
}


def worked(folder: Path, **over: Any) -> Path:
    """The run directory of a worker that came to its end."""
    site, run_dir, model = folder / "site", folder / "lab" / "runs" / "r1", folder / "model"
    shutil.copytree(STAND_IN, site)
    shutil.copyfile(TABLE, site / "vllm" / "arguments.json")
    run_dir.mkdir(parents=True)
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "opt"}')
    asked = spec.from_dict({**ASKED, "model": str(model), **over})
    (run_dir / rundir.SPEC).write_text(asked.to_json())
    command = [sys.executable, "-m", "labctl.runner.worker", str(run_dir), str(time.monotonic())]
    env = {**os.environ, "PYTHONPATH": f"{site}:{ROOT}"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return run_dir


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worked(tmp_path_factory.mktemp("bench"))


def rows(run_dir: Path, name: str = rundir.EVENTS) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / name).read_text().splitlines()]


def test_the_tutorials_loop_comes_first_and_once(run: Path) -> None:
    ends = [row for row in rows(run) if row["event"] == "end" and "size" in row]
    found = [(row["phase"], row["size"]) for row in ends]
    each = ["warmup", "generate", "generate"]
    assert found == [
        ("tutorial", 3), ("tutorial", 1), *((phase, 3) for phase in each), *((phase, 1) for phase in each),
    ]  # fmt: skip
    assert [row["number"] for row in ends] == list(range(8))
    assert [row["prefix_cache_reset"] for row in ends] == [False] * 2 + [True] * 6
    assert ends[2]["output_tokens"] == 15


def test_the_tutorial_repeats_its_prompt_and_the_measured_passes_have_their_own(run: Path) -> None:
    outputs = rows(run, rundir.OUTPUTS)
    assert {row["prompt"] for row in outputs if row["phase"] == "tutorial"} == {"Tell me a story"}
    measured = [row["prompt"] for row in outputs if row["phase"] != "tutorial"]
    assert len(set(measured)) == len(measured) == 3 * (3 + 1)
    assert {len(prompt.split()) for prompt in measured} == {4}, "as many tokens as the tutorial's prompt"


def test_the_same_seed_gives_the_same_prompts_and_another_one_others(run: Path, tmp_path: Path) -> None:
    def prompts(run_dir: Path) -> list[str]:
        return [row["prompt"] for row in rows(run_dir, rundir.OUTPUTS) if row["phase"] != "tutorial"]

    assert prompts(worked(tmp_path / "same")) == prompts(run)
    assert not set(prompts(worked(tmp_path / "other", seed=1))) & set(prompts(run))


def test_the_end_of_a_text_is_ignored_where_it_is_measured(run: Path) -> None:
    told = next(row for row in rows(run) if row["event"] == "sampling")
    assert told["tutorial"] == {"max_tokens": 5}
    assert told["measured"] == {"max_tokens": 5, "ignore_eos": True}


def test_limits_that_cannot_be_had_do_not_end_the_run(run: Path) -> None:
    # This environment has no torch.
    found = rows(run)
    tried = next(row for row in found if row["event"] == "end" and row["phase"] == "ceilings")
    assert "torch" in tried["error"]
    assert "torch" in next(row for row in found if row["event"] == "model_shape")["error"]
    assert found[-1]["event"] == "done"


def test_without_the_tutorials_loop(tmp_path: Path) -> None:
    work = {**ASKED["workload"], "tutorial": False, "sizes": [2], "warmup": 0, "repeats": 1}
    found = [row["phase"] for row in rows(worked(tmp_path, workload=work)) if row["event"] == "end" and "size" in row]
    assert found == ["generate"]
