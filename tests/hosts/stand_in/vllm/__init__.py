"""A STAND-IN for vLLM 0.32.0: it generates nothing, but says and does what labctl's runner reads and asks for.

Words of a prompt steer it: "sleep 20" takes 20 s, "lines 20000" logs so many lines, "bytes 4000000" makes a text of
that size, "escape" puts what a terminal or a page must never get into log and text, "fail" dies in the engine.
"""

import inspect
import os
import random
import re
import sys
import time
from types import SimpleNamespace
from typing import Any

from vllm.engine.arg_utils import ENGINE, SAMPLING

__version__ = "0.32.0"

_START = (
    "api_utils.py:286] non-default args: {engine}",
    "model.py:733] Resolved architecture: OPTForCausalLM",
    "model.py:2152] Using max model len 512",
    "core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='{model}' (STAND-IN)",
    "cpu_model_runner.py:68] Starting to load model {model}...",
    "default_loader.py:501] Loading weights took 0.01 seconds",
    "cpu_worker.py:260] Explicitly set (2.0/7.96) GiB for KV cache on node 0.",
    "kv_cache_utils.py:2327] CPU KV cache size: 58,240 tokens, Maximum concurrency for 512 tokens per request: 113.75x",
    "core.py:402] init engine (profile, create kv cache, warmup model) took 0.05 s",
)
# A title, a cleared screen, a clipboard, a link, colours, C1 controls, a rewritten line, a reversed text, a script.
HOSTILE = (
    "\x1b]0;OWNED\x07\x1b[2J\x1b]52;c;T1dORUQ=\x07\x1b]8;;http://evil.invalid\x1b\\link\x1b]8;;\x1b\\"
    "\x1b[31mred\x9b31m\x90payload\x9c\x08\x08\rrewritten \u202eesrever\u202c<script>alert(1)</script>\x00end"
)


def _log(message: str, level: str = "INFO") -> None:
    stamp = time.strftime("%m-%d %H:%M:%S")
    sys.stdout.write(f"(EngineCore pid={os.getpid()}) {level} {stamp} [{message}\n")
    # As vLLM's logger does; nothing else sets it, for the runner starts it by ``python -I``.
    sys.stdout.flush()


class SamplingParams:
    """Takes what the true one takes."""

    __signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in sorted(SAMPLING)]
    )

    def __init__(self, **given: Any) -> None:
        """Refuse unknown names, as a function does."""
        _refuse(given, SAMPLING, "SamplingParams")
        self.max_tokens = int(given.get("max_tokens") or 16)
        self.n = int(given.get("n") or 1)


class LLM:
    """Takes what the true one takes, and is up in a moment."""

    def __init__(self, model: str, **engine: Any) -> None:
        """Say what vLLM says at its start."""
        _refuse(engine, ENGINE, "EngineArgs")
        for line in _START:
            _log(line.format(model=model, engine=engine))
            time.sleep(0.005)
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=_shutdown))

    def reset_prefix_cache(self) -> bool:
        """It has none."""
        return True

    def get_tokenizer(self) -> SimpleNamespace:
        """A token a word, and a beginning of sequence; ids of a vocabulary of 1,000."""
        return SimpleNamespace(
            encode=lambda text: [2, *(3 + hash(word) % 997 for word in text.split())],
            decode=lambda ids: " ".join(f"word{number}" for number in ids[1:]),
            all_special_ids=[0, 1, 2],
            vocab_size=1000,
        )

    def generate(self, prompts: list[Any], sampling: SamplingParams, *, use_tqdm: bool = True) -> list[Any]:
        """As many tokens as may be, at once."""
        del use_tqdm
        time.sleep(0.02)
        return [_output(prompt if isinstance(prompt, str) else prompt["prompt"], sampling) for prompt in prompts]


def _output(prompt: str, sampling: SamplingParams) -> SimpleNamespace:
    queued = time.monotonic()
    for number in range(_asked("lines", prompt)):
        _log(f"stand_in.py:1] line {number} of many, as an engine with much to say would log it")
    if "escape" in prompt:
        _log(f"stand_in.py:2] {HOSTILE}", "WARNING")
    time.sleep(_asked("sleep", prompt))
    if "fail" in prompt.split():
        raise RuntimeError("the stand-in was asked to fail")
    # Text that no transfer can make small.
    noise = random.Random(prompt).randbytes(_asked("bytes", prompt) // 2).hex()  # noqa: S311 - the same in every run
    text = f" said{HOSTILE if 'escape' in prompt else ''}{noise}"
    now = time.monotonic()
    return SimpleNamespace(
        prompt=prompt,
        prompt_token_ids=list(range(len(prompt.split()) + 1)),
        num_cached_tokens=0,
        outputs=[
            SimpleNamespace(token_ids=list(range(sampling.max_tokens)), text=text, finish_reason="length")
            for _ in range(sampling.n)
        ],
        metrics=SimpleNamespace(queued_ts=queued, scheduled_ts=queued, first_token_latency=0.001, last_token_ts=now),
    )


def _asked(word: str, prompt: str) -> int:
    found = re.search(rf"\b{word} (\d+)", prompt)
    return int(found[1]) if found else 0


def _refuse(given: dict[str, Any], known: frozenset[str], name: str) -> None:
    for one in given:
        if one not in known:
            raise TypeError(f"{name}.__init__() got an unexpected keyword argument '{one}'")


def _shutdown() -> None:
    _log("core_client.py:777] [shutdown] MPClient: complete")
