"""What measuring costs on the H100: the sampler within one engine, and labctl's figure beside vLLM's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from labctl.report.amounts import number
from tests.benchmarks import sampler_cost
from tests.benchmarks.sampler_switch import BATCH
from tests.readme import shown
from tests.readme.golden import GoldenError
from tests.readme.words import word

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.pairs import Ratio
    from tests.readme.golden import Golden, Goldens

RUN = "h100-bench-7b-sampler"
# What `python -m tests.benchmarks.vllm_throughput` wrote of that run, on the same machine.
THEIRS = "h100-vllm-bench-throughput.json"


def text(goldens: Goldens, language: str) -> str:
    """One sentence. Raises GoldenError."""
    golden = goldens(RUN, "warm")
    pairs = sampler(golden)
    ours, theirs = golden.amount(f"throughput_b{BATCH}"), by_vllm(goldens.folder.parent / THEIRS, golden)
    if ours is None:
        raise GoldenError(f"the golden run {RUN} has no throughput at batch {BATCH}")
    return word("costs", language).format(
        model=shown.model([golden], language),
        batch=BATCH,
        sampler=f"{pairs.median:.3f} [{pairs.low:.3f}, {pairs.high:.3f}]",
        pairs=pairs.pairs,
        passes=golden.figures[f"throughput_b{BATCH}"]["n"],
        ours=number(ours),
        theirs=number(theirs),
        ratio=f"{ours / theirs:.3f}",
    )


def sampler(golden: Golden) -> Ratio:
    """Throughput with / without the sampler: which passes had samples shows in its files. Raises GoldenError."""
    try:
        return sampler_cost.cost(golden.run.path, [None] * golden.figures[f"throughput_b{BATCH}"]["n"])[0]
    except SystemExit as error:
        raise GoldenError(f"the golden run {golden.name}: {error}") from error


def by_vllm(path: Path, golden: Golden) -> float:
    """Tokens/s of `vllm bench throughput` beside this very run. Raises GoldenError."""
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rate = told["batch"] * told["tokens"] / told["vllm_seconds"]
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        raise GoldenError(f"{path} does not say what vllm bench throughput measured: {error!r}") from error
    if (told.get("run"), told["batch"], told.get("same_sampling")) != (golden.run.record.run_id, BATCH, True):
        raise GoldenError(f"{path} was not measured beside the golden run {golden.name}")
    return float(rate)
