"""Mode ``offline``: vLLM's ``LLM`` class over a list of prompts, with a warm-up and measured repeats."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from labctl.runner import engine_args, rundir
from labctl.runner.workloads import Prompts

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner.events import Events
    from labctl.runner.spec import RunSpec


def run(asked: RunSpec, run_dir: Path, events: Events) -> None:
    """Import, resolve the model, start the engine, generate, shut down; everything as events and raw files."""
    vllm = engine_args.import_vllm(asked, events)
    engine = engine_args.prepare(asked, run_dir, events)
    before = engine_args.cache_entries()
    with events.during("engine"):
        llm = vllm.LLM(**engine)
    events.emit(
        "compile_cache", before=before, after=engine_args.cache_entries(), eager=bool(engine.get("enforce_eager"))
    )
    _generate(llm, vllm.SamplingParams(**asked.sampling), asked, run_dir, events)
    with events.during("shutdown"):
        _write_metrics(run_dir)
        llm.llm_engine.engine_core.shutdown()


def _generate(llm: Any, sampling: Any, asked: RunSpec, run_dir: Path, events: Events) -> None:
    work = asked.workload
    assert isinstance(work, Prompts)  # noqa: S101 - the worker chooses by the kind
    prompts = list(work.prompts)
    for number in range(work.warmup + work.repeats):
        warmup = number < work.warmup
        # A prefix cache filled by the pass before would make this one look faster than the first user's.
        fresh = bool(llm.reset_prefix_cache())
        with events.during("warmup" if warmup else "generate", number=number) as told:
            began = time.monotonic()
            outputs = llm.generate(prompts, sampling, use_tqdm=False)
            told["seconds"] = round(time.monotonic() - began, 6)
            told["output_tokens"] = sum(len(one.token_ids) for out in outputs for one in out.outputs)
            told["prompt_tokens"] = sum(len(out.prompt_token_ids or ()) for out in outputs)
            told["cached_tokens"] = sum(out.num_cached_tokens or 0 for out in outputs)
            told["prefix_cache_reset"] = fresh
        _keep(run_dir, number, outputs, warmup=warmup)


def _keep(run_dir: Path, number: int, outputs: list[Any], *, warmup: bool) -> None:
    with (
        (run_dir / rundir.OUTPUTS).open("a", encoding="utf-8") as texts,
        (run_dir / rundir.REQUESTS).open("a", encoding="utf-8") as requests,
    ):
        for position, out in enumerate(outputs):
            for one in out.outputs:
                row = {
                    "pass": number,
                    "warmup": warmup,
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


def _write_metrics(run_dir: Path) -> None:
    import prometheus_client

    path = run_dir / rundir.METRICS
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(prometheus_client.generate_latest())
