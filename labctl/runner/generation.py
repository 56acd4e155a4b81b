"""vLLM's ``LLM`` class as every offline workload uses it: its start, one timed pass, what is kept, its end."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.runner import engine_args, rundir

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labctl.runner.events import Events


class Place(NamedTuple):
    """Which pass of the run: its phase, its number (unlike any other's), its batch size where sizes are compared.

    ``reset``: whether the prefix cache is emptied first. One that the pass before filled would make this one look
    faster than the first user's.
    """

    phase: str
    number: int
    size: int | None = None
    reset: bool = True

    def told(self) -> dict[str, int]:
        """What events say of it besides the phase."""
        return {"number": self.number} if self.size is None else {"size": self.size, "number": self.number}


def start(vllm: Any, engine: dict[str, Any], events: Events) -> Any:
    """The ``LLM`` of ``engine`` (its keyword arguments), and what its start left in the compile caches."""
    before = engine_args.cache_entries()
    with events.during("engine"):
        llm = vllm.LLM(**engine)
    events.emit(
        "compile_cache", before=before, after=engine_args.cache_entries(), eager=bool(engine.get("enforce_eager"))
    )
    return llm


def one_pass(llm: Any, prompts: Sequence[Any], sampling: Any, events: Events, place: Place) -> list[Any]:
    """All ``prompts`` at once, timed; seconds and tokens go with the end of the phase. Gives vLLM's RequestOutputs."""
    fresh = bool(llm.reset_prefix_cache()) if place.reset else False
    with events.during(place.phase, **place.told()) as told:
        began = time.monotonic()
        outputs: list[Any] = llm.generate(prompts, sampling, use_tqdm=False)
        told["seconds"] = round(time.monotonic() - began, 6)
        told["output_tokens"] = sum(len(one.token_ids) for out in outputs for one in out.outputs)
        told["sequences"] = sum(len(out.outputs) for out in outputs)
        told["prompt_tokens"] = sum(len(out.prompt_token_ids or ()) for out in outputs)
        told["cached_tokens"] = sum(out.num_cached_tokens or 0 for out in outputs)
        told["prefix_cache_reset"] = fresh
    return outputs


def keep(run_dir: Path, outputs: list[Any], place: Place) -> None:
    """Append each output to outputs.jsonl (texts) and requests.jsonl (seconds and tokens)."""
    sized = {} if place.size is None else {"phase": place.phase, "size": place.size}
    common = {"pass": place.number, "warmup": place.phase != "generate", **sized}
    with (
        (run_dir / rundir.OUTPUTS).open("a", encoding="utf-8") as texts,
        (run_dir / rundir.REQUESTS).open("a", encoding="utf-8") as requests,
    ):
        for position, out in enumerate(outputs):
            for one in out.outputs:
                row = {
                    **common,
                    "request": position,
                    "prompt_tokens": len(out.prompt_token_ids or ()),
                    "output_tokens": len(one.token_ids),
                }
                text = {"prompt": out.prompt, "output": one.text, "finish_reason": one.finish_reason}
                texts.write(json.dumps({**row, **text}, ensure_ascii=False) + "\n")
                timing = {**row, **latency(out.metrics), "cached_tokens": out.num_cached_tokens}
                requests.write(json.dumps(timing) + "\n")


def latency(stats: Any) -> dict[str, float | None]:
    """Seconds of one request from RequestStateStats (vllm/v1/metrics/stats.py, 0.32.0); None where it has none.

    ``ttft_s`` from arrival to first token, ``latency_s`` from queued to last token, ``queue_s`` until scheduled.
    """

    def span(start: str, end: str) -> float | None:
        first, last = getattr(stats, start, None), getattr(stats, end, None)
        return round(last - first, 6) if first and last else None

    ttft = getattr(stats, "first_token_latency", None)
    return {
        "latency_s": span("queued_ts", "last_token_ts"),
        "ttft_s": round(ttft, 6) if ttft else None,
        "queue_s": span("queued_ts", "scheduled_ts"),
    }


def stop(llm: Any, run_dir: Path, events: Events) -> None:
    """Keep the engine's metrics as ``/metrics`` would give them, and shut it down."""
    import prometheus_client

    with events.during("shutdown"):
        path = run_dir / rundir.METRICS
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(prometheus_client.generate_latest())
        llm.llm_engine.engine_core.shutdown()
