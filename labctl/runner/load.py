"""Requests of exact lengths to a server, each in a thread of its own, and what became of each."""

from __future__ import annotations

import http.client
import json
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.runner import calls, ending, events, wire
from labctl.runner.arguments import ArgumentError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from labctl.runner.serving import Endpoint

COMPLETIONS = "/v1/completions"
# Special tokens stand at the low ids of most vocabularies, unused ones at the high end; every model has these.
_LEAST_ID, _MOST_ID = 256, 20_000


class Life(NamedTuple):
    """One request: when it was sent, gave its first token and was done (s since the caller's zero), None: never.

    ``status``: HTTP's number (None: no answer); ``error``: why it failed, None where it did not.
    """

    sent_s: float
    first_s: float | None
    done_s: float | None
    prompt_tokens: int
    output_tokens: int
    status: int | None
    error: str | None


class Asked(NamedTuple):
    """One request: the ids of its prompt, and exactly how many tokens are to come back."""

    prompt: list[int]
    output_tokens: int


def used_engine(run_dir: Path) -> dict[str, Any]:
    """What the run's engine was given (``model``: its folder), as its event says; empty where there is none."""
    told = ending.last(events.read(run_dir), "engine") or {}
    used = told.get("used")
    return used if isinstance(used, dict) else {}


def vocabulary(model: str) -> range:
    """Token ids that any prompt may hold, for a model's folder: plain ones, in every tokenizer of its size."""
    try:
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
        size = config.get("vocab_size") or config["text_config"]["vocab_size"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        size = None
    most = min(size, _MOST_ID) if isinstance(size, int) else _MOST_ID
    return range(_LEAST_ID, most) if most > 2 * _LEAST_ID else range(max(2, most))


def prompt(dice: random.Random, tokens: int, ids: range) -> list[int]:
    """``tokens`` random ids: as a list they reach the engine as they are, with no token of the tokenizer's own."""
    return dice.choices(ids, k=tokens)


def check_length(endpoint: Endpoint, tokens: int) -> None:
    """Raise ArgumentError where a request of ``tokens`` (prompt and answer) is more than the server takes."""
    answer = wire.get(endpoint, "/v1/models")
    try:
        most = answer.json()["data"][0]["max_model_len"]
    except (ValueError, LookupError, TypeError):
        return
    if isinstance(most, int) and tokens > most:
        raise ArgumentError(
            f"requests of up to {tokens} tokens (prompt and answer) do not fit: the server's max_model_len is {most}"
        )


def live(endpoint: Endpoint, asked: Asked, sampling: dict[str, Any], zero: float) -> Life:
    """Send one request and stream its answer to the end. Whatever fails is in the Life, nothing is raised.

    ``ignore_eos`` and ``max_tokens`` make the answer exactly as long as asked; the server's own count of tokens is
    taken (``stream_options``). ``zero``: the caller's zero on the monotonic clock.
    """
    body = {
        "temperature": 0.0, **sampling, "model": endpoint.model, "prompt": asked.prompt,
        "max_tokens": asked.output_tokens, "ignore_eos": True, "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    sent, first = time.monotonic() - zero, None
    usage: dict[str, Any] = {}
    status, error, ended = None, None, False
    try:
        for _, line in wire.stream(endpoint, COMPLETIONS, body):
            status = wire.OK
            ended = ended or line.strip() == "data: [DONE]"
            told = wire.data(line) or {}
            if first is None and told.get("choices"):
                first = time.monotonic() - zero
            usage = told.get("usage") or usage
            error = error or _error(told)
    except wire.WireError as wrong:
        status, error = wrong.status, calls.why(wrong.text)[:500]
    except (OSError, http.client.HTTPException, ValueError) as wrong:
        error = f"{type(wrong).__name__}: {wrong}"
    done = time.monotonic() - zero
    if error is None and not (ended and first is not None):
        # A connection that breaks between two pieces looks like an end to http.client.
        error = "the stream ended in the middle"
    return _life(asked, (sent, first, None if error else done), usage, status, error)


def _error(told: dict[str, Any]) -> str | None:
    """An error within a stream (vllm/entrypoints/openai, create_streaming_error_response, 0.32.0)."""
    found = told.get("error")
    return str(found.get("message") if isinstance(found, dict) else found)[:500] if found else None


def _life(
    asked: Asked, times: tuple[float, float | None, float | None], usage: dict[str, Any], status: int | None,
    error: str | None,
) -> Life:  # fmt: skip
    sent, first, done = (None if one is None else round(one, 6) for one in times)
    counted = usage.get("prompt_tokens"), usage.get("completion_tokens")
    prompt_tokens, output_tokens = (one if isinstance(one, int) else 0 for one in counted)
    return Life(sent or 0.0, first, done, prompt_tokens or len(asked.prompt), output_tokens, status, error)


def together(jobs: Iterable[Callable[[], object]]) -> list[threading.Thread]:
    """Start every job in a thread of its own; none of them keeps the process alive. The caller joins them."""
    started = []
    for job in jobs:
        thread = threading.Thread(target=job, daemon=True)
        thread.start()
        started.append(thread)
    return started


def at_once(endpoint: Endpoint, requests: list[Asked], sampling: dict[str, Any], zero: float) -> list[Life]:
    """Send all requests at the same time and wait for the last. The Lives in the order of their end."""
    lives: list[Life] = []

    def one(asked: Asked) -> None:
        lives.append(live(endpoint, asked, sampling, zero))

    for thread in together([partial(one, asked) for asked in requests]):
        thread.join()
    return lives
