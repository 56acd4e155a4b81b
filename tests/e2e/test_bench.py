"""The benchmark over batch sizes with the real vLLM: one run, eager and short; and the parts that need its packages."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import synthetic
from tests.e2e.test_line import EAGER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Project


@pytest.fixture(scope="module")
def bench(project: Project) -> tuple[Project, Path]:
    """Sizes 1 and 2, eager and short, on a machine that was not measured before."""
    (project.lab_dir / "ceilings.json").unlink(missing_ok=True)
    project("run", "bench", "--host", "local", *EAGER, "--batch-sizes", "1,2", "--max-tokens", "8", "--repeats", "3")
    return project, project.newest()


@pytest.fixture
def figures(bench: tuple[Project, Path]) -> dict[str, dict[str, Any]]:
    project, run = bench
    found: dict[str, dict[str, Any]] = project.record(run)["metrics"]
    return found


def test_the_tutorials_loop_then_a_warm_up_and_three_repeats_at_each_size(bench: tuple[Project, Path]) -> None:
    project, run = bench
    told = project.record(run)
    assert told["status"] == "ok"
    names = [phase["name"] for phase in told["phases"]]
    assert names[-11:] == ["tutorial", "tutorial", *["warmup", *["generate"] * 3] * 2, "shutdown"]
    assert names[:4] == ["import", "model", "ceilings", "model_shape"], "measured before the engine takes the memory"


def test_every_measured_text_is_equally_long(bench: tuple[Project, Path]) -> None:
    _, run = bench
    rows = [json.loads(line) for line in (run / "outputs.jsonl").read_text().splitlines()]
    assert {row["output_tokens"] for row in rows if row["phase"] != "tutorial"} == {8}
    assert len({row["prompt_tokens"] for row in rows}) == 1, "as many tokens as the tutorial's prompt"
    prompts = [row["prompt"] for row in rows if row["phase"] == "generate"]
    assert len(set(prompts)) == len(prompts) == 3 * (1 + 2)


def test_throughput_stands_beside_the_machines_limit(figures: dict[str, dict[str, Any]]) -> None:
    for size in (1, 2):
        found = {name: figures[f"{name}_b{size}"] for name in ("throughput", "tutorial", "limit", "token_latency")}
        assert found["throughput"]["n"] == 3
        assert 0 < found["throughput"]["low"] <= found["throughput"]["value"] < found["limit"]["value"]
        assert found["token_latency"]["value"] == pytest.approx(size / found["throughput"]["value"], rel=0.01)
        assert found["tutorial"]["n"] == 1
        share = 100 * found["throughput"]["value"] / found["limit"]["value"]
        assert figures[f"bandwidth_utilisation_b{size}"]["value"] == pytest.approx(share, rel=0.01)
    assert figures["throughput"]["value"] == figures["throughput_b2"]["value"]
    assert figures["ceiling_bandwidth"]["value"] > 1
    assert figures["model_params"]["value"] == 125_239_296


def test_verify_computes_every_figure_again(bench: tuple[Project, Path]) -> None:
    project, run = bench
    assert "0 problems" in project("verify", run.name)


_AGAIN = """
import json, sys, time
from pathlib import Path
from labctl.runner import ceilings, events, model_shape, rundir, spec
run_dir, models = Path(sys.argv[1]), sys.argv[2:]
run_dir.mkdir()
asked = spec.from_dict({"lab": "bench", "model": "m", "workload": {"kind": "batches"}})
with events.Events(run_dir, time.monotonic()) as told:
    ceilings.of_machine(run_dir, asked, told)
    for model in models:
        model_shape.tell({"model": model}, told)
    print(json.dumps({"held": json.loads((run_dir / rundir.CEILINGS).read_text()), "rows": events.read(run_dir)}))
"""


def best(held: dict[str, Any]) -> float:
    return float(max(held["bandwidth"]["bytes_per_s"]))


def test_a_machine_is_measured_once_and_models_are_counted(bench: tuple[Project, Path], tmp_path: Path) -> None:
    project, run = bench
    first = json.loads((run / "bench" / "ceilings.json").read_text())
    assert first["reused"] is False
    other = tmp_path / "qwen"  # its config alone: no weights are needed
    other.mkdir()
    config = synthetic.architecture("Qwen/Qwen2.5-7B-Instruct")
    assert config is not None
    plain = {key: value for key, value in config.items() if not key.startswith("_")}
    (other / "config.json").write_text(json.dumps(plain))
    models = [project.record(run)["model"]["used"], str(other)]
    again = project.lab_dir / "runs" / "again"
    command = [project.lab_dir / "env" / "bin" / "python", "-I", "-c", _AGAIN, again, *models]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    finally:
        shutil.rmtree(again)
    told = json.loads(done.stdout.splitlines()[-1])
    if first["busy"]:
        # Other work on this machine: measured once more, and nothing that was better is forgotten.
        assert told["held"]["reused"] is False
        assert best(told["held"]) >= best(first)
    else:
        assert told["held"] == {**first, "reused": True}
    small, large = (row for row in told["rows"] if row["event"] == "model_shape")
    assert (small["params"], small["tied"], small["lookup_params"]) == (125_239_296, True, 2050 * 768)
    assert (large["params"], large["tied"], large["embedding_params"]) == (7_615_616_512, False, 152_064 * 3584)
    assert (large["step_bytes"], large["kv_bytes_per_token"]) == (14_141_238_272, 57_344)
