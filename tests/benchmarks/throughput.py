"""The lab's offline throughput against that of vLLM's own `vllm bench throughput`, for the same shape."""

from __future__ import annotations

import os

from tests.benchmarks.pairs import compare
from tests.benchmarks.vllm_throughput import BATCH, SAMPLING, Lab, by_vllm, opened
from tests.e2e.conftest import Project, provisioned

PAIRS = int(os.environ.get("BENCH_PAIRS", "3"))
TOKENS = int(os.environ.get("BENCH_TOKENS", "100"))
EAGER = ("--engine", "enforce_eager=true", "--engine", "max_model_len=512")


def bench_throughput() -> None:
    """`labctl run bench` at one batch size against `vllm bench throughput`, both warmed up, by turns."""
    project = provisioned()
    lab = by_labctl(project)  # says what the benchmark has to do; counts for nothing
    shape = lab.shape(BATCH)

    def ours() -> float:
        return float(by_labctl(project).figure(f"throughput_b{BATCH}")["value"])

    def theirs() -> float:
        return BATCH * TOKENS / float(by_vllm(lab, shape)["elapsed_time"])

    found = compare(ours, theirs, PAIRS)
    print(f"labctl's throughput / vllm bench throughput's (batch {BATCH}, {TOKENS} tokens):", found)


def by_labctl(project: Project) -> Lab:
    """A run whose throughput is the median of three passes, sampling as vLLM's benchmark does."""
    sampling = [word for name, value in SAMPLING.items() for word in ("--sampling", f"{name}={value}")]
    shape = ("--batch-sizes", str(BATCH), "--max-tokens", str(TOKENS), "--workload", "tutorial=false")
    project("run", "bench", *EAGER, *sampling, *shape, "--sample-hz", "0", timeout=600)
    return opened(project.newest(), project.lab_dir)
