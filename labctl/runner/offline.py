"""Mode ``offline``: vLLM's ``LLM`` class over a list of prompts, with a warm-up and measured repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.runner import engine_args, generation
from labctl.runner.workloads import Prompts

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner.events import Events
    from labctl.runner.spec import RunSpec


def run(asked: RunSpec, run_dir: Path, events: Events) -> None:
    """Import, resolve the model, start the engine, generate, shut down; everything as events and raw files."""
    work = asked.workload
    assert isinstance(work, Prompts)  # noqa: S101 - the worker chooses by the kind
    vllm = engine_args.import_vllm(asked, events)
    llm = generation.start(vllm, engine_args.prepare(asked, run_dir, events), events)
    sampling = vllm.SamplingParams(**asked.sampling)
    for number in range(work.warmup + work.repeats):
        place = generation.Place("warmup" if number < work.warmup else "generate", number)
        outputs = generation.one_pass(llm, work.texts(), sampling, events, place)
        generation.keep(run_dir, outputs, place)
    generation.stop(llm, run_dir, events)
