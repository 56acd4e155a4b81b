"""Mode ``offline``, batch sizes: the tutorial's own loop once, then each size with a warm-up and measured repeats.

The tutorial's loop sends the same prompt n times to an engine that has never seen this shape, once, with its sampling
arguments as they are: the figure that it prints holds whatever vLLM compiles meanwhile. It is kept, as phase
``tutorial``, to stand beside the measured one.

A measured pass differs in four things. Each size is warmed up. The end-of-sequence token is ignored (unless the lab
says otherwise), so that all requests are equally long and each step has the whole batch. The prefix cache is emptied
before each pass. And each request has a prompt of its own, as many tokens long as the tutorial's, drawn at random
from the vocabulary and drawn anew for each pass: the same prompt n times would share its cached blocks within the
batch (vLLM caches prefixes in whole blocks), which no n users do. What a prompt says does not change what a step costs.
"""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

from labctl.runner import ceilings, engine_args, generation, model_shape
from labctl.runner.workloads import Batches

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labctl.runner.events import Events
    from labctl.runner.spec import RunSpec


def run(asked: RunSpec, run_dir: Path, events: Events) -> None:
    """Measure the machine, start the engine, run the tutorial's loop and the sizes; all as events and raw files."""
    work = asked.workload
    assert isinstance(work, Batches)  # noqa: S101 - the worker chooses by the kind
    vllm = engine_args.import_vllm(asked, events)
    engine = engine_args.prepare(asked, run_dir, events)
    ceilings.of_machine(run_dir, asked, events)
    model_shape.tell(engine, events)
    llm = generation.start(vllm, engine, events)
    events.emit("resolved", **resolved(llm))
    equal = {"ignore_eos": True, **asked.sampling}
    events.emit("sampling", tutorial=asked.sampling, measured=equal)
    numbers = itertools.count()
    if work.tutorial:
        naive = vllm.SamplingParams(**asked.sampling)
        for size in work.sizes:
            place = generation.Place("tutorial", next(numbers), size, reset=False)
            outputs = generation.one_pass(llm, [work.prompt] * size, naive, events, place)
            generation.keep(run_dir, outputs, place)
    sampling = vllm.SamplingParams(**equal)
    for place in _places(work, numbers):
        outputs = generation.one_pass(llm, _prompts(llm, asked, place), sampling, events, place)
        generation.keep(run_dir, outputs, place)
    generation.stop(llm, run_dir, events)


def _places(work: Batches, numbers: Iterator[int]) -> Iterator[generation.Place]:
    for size in work.sizes:
        for turn in range(work.warmup + work.repeats):
            yield generation.Place("warmup" if turn < work.warmup else "generate", next(numbers), size)


def _prompts(llm: Any, asked: RunSpec, place: generation.Place) -> list[dict[str, Any]]:
    """A prompt for each request of a pass, as vLLM's TokensPrompt: the tutorial's length, other tokens.

    The same in every run of the same seed. Special tokens (a beginning of sequence) stay where they are.
    """
    assert isinstance(asked.workload, Batches)  # noqa: S101 - as above
    tokenizer = llm.get_tokenizer()
    like, special = tokenizer.encode(asked.workload.prompt), set(tokenizer.all_special_ids)
    chance = random.Random(f"{asked.seed} {place.number}")  # noqa: S311 - prompts, no secret

    def draw(token: int) -> int:
        while token not in special:
            drawn = chance.randrange(tokenizer.vocab_size)
            if drawn not in special:
                return drawn
        return token

    drawn = [[draw(token) for token in like] for _ in range(place.size or 1)]
    return [{"prompt_token_ids": tokens, "prompt": tokenizer.decode(tokens)} for tokens in drawn]


# Event key -> where vLLM's own configuration has it (vllm/config, 0.32.0).
_RESOLVED = {
    "dtype": ("model_config", "dtype"),
    "quantization": ("model_config", "quantization"),
    "kv_cache_dtype": ("cache_config", "cache_dtype"),
    "max_num_seqs": ("scheduler_config", "max_num_seqs"),
    "max_num_batched_tokens": ("scheduler_config", "max_num_batched_tokens"),
    "tensor_parallel_size": ("parallel_config", "tensor_parallel_size"),
    "pipeline_parallel_size": ("parallel_config", "pipeline_parallel_size"),
    "data_parallel_size": ("parallel_config", "data_parallel_size"),
}


def resolved(llm: Any) -> dict[str, Any]:
    """What the engine that came up really uses, of that which its limits depend on; None where it does not say."""
    config = getattr(llm.llm_engine, "vllm_config", None)
    found = {name: getattr(getattr(config, part, None), key, None) for name, (part, key) in _RESOLVED.items()}
    plain = {
        name: value if value is None or isinstance(value, int) else str(value).removeprefix("torch.")
        for name, value in found.items()
    }
    return {**plain, "speculative": getattr(config, "speculative_config", None) is not None}
