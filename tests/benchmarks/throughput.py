"""The lab's offline throughput against that of vLLM's own `vllm bench throughput`, for the same shape."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.pairs import ratio
from tests.e2e.conftest import Project, provisioned

PAIRS = int(os.environ.get("BENCH_PAIRS", "3"))
BATCH, TOKENS = 16, int(os.environ.get("BENCH_TOKENS", "100"))
EAGER = ("--engine", "enforce_eager=true", "--engine", "max_model_len=512")
# As `vllm bench throughput` samples (vllm/benchmarks/throughput.py, 0.32.0, _run_vllm_requests).
SAMPLING = ("--sampling", "temperature=1.0", "--sampling", "top_p=1.0", "--max-tokens", str(TOKENS))


def bench_throughput() -> None:
    """`labctl run bench` at one batch size against `vllm bench throughput`, both warmed up, by turns."""
    project = provisioned()
    rows = []
    for number in range(PAIRS):
        if number % 2:
            theirs = by_vllm(project, project.record())
            rows.append((by_labctl(project), theirs))
        else:
            ours = by_labctl(project)
            rows.append((ours, by_vllm(project, project.record())))
        print(f"  labctl {rows[-1][0]:.1f} tok/s, vllm bench throughput {rows[-1][1]:.1f} tok/s", flush=True)
    print(f"labctl's throughput / vllm bench throughput's (batch {BATCH}, {TOKENS} tokens):", ratio(rows))


def by_labctl(project: Project) -> float:
    """Generated tokens a second, the median of three passes."""
    project(
        "run", "bench", *EAGER, *SAMPLING, "--batch-sizes", str(BATCH), "--workload", "tutorial=false",
        "--sample-hz", "0", timeout=600,
    )  # fmt: skip
    return float(project.record()["metrics"][f"throughput_b{BATCH}"]["value"])


def by_vllm(project: Project, record: dict[str, Any]) -> float:
    """Generated tokens a second of one pass, with what the lab's run gave the engine and prompts as long as its own."""
    used, metrics = record["engine"]["used"], record["metrics"]
    prompt = metrics["prompt_tokens"]["value"] // metrics["prompt_tokens"]["n"]
    settings = {row["key"]: str(row["value"]) for row in record["engine"]["adjusted"] if row["key"].startswith("VLLM_")}
    python = project.lab_dir / "env" / "bin" / "python"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [
            python, "-I", "-m", "vllm.entrypoints.cli.main", "bench", "throughput", "--model", used["model"],
            "--dtype", used.get("dtype", "auto"), "--max-model-len", str(used["max_model_len"]), "--enforce-eager",
            "--dataset-name", "random", "--random-input-len", str(prompt), "--random-output-len", str(TOKENS),
            "--num-prompts", str(BATCH), "--num-warmups", str(BATCH), "--output-json", out,
        ]  # fmt: skip
        subprocess.run(command, env={**os.environ, **settings}, capture_output=True, check=True)
        told = json.loads(out.read_text(encoding="utf-8"))
    return float(BATCH * TOKENS / told["elapsed_time"])
