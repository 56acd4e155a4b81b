"""Mode ``offline``: vLLM's ``LLM`` class over a list of prompts, with a warm-up and measured repeats."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.runner import arguments, model, probe, rundir

if TYPE_CHECKING:
    from labctl.runner.events import Events
    from labctl.runner.spec import RunSpec

_GIB = 1024**3


def run(asked: RunSpec, run_dir: Path, events: Events) -> None:
    """Import, resolve the model, start the engine, generate, shut down; everything as events and raw files."""
    lab_dir = run_dir.parent.parent
    with events.during("import") as told:
        import vllm

        # vLLM imports lazily: what LLM needs is asked for here, or its seconds would hide in the next phase.
        arguments.known()
        told["vllm"] = vllm.__version__
    with events.during("model"):
        arguments.check(asked.engine, asked.sampling, vllm.__version__)
        weights = asked.engine.get("load_format") != "dummy"
        choice = model.resolve(asked.model, lab_dir / "models", allow_synthetic=asked.synthetic, weights=weights)
        events.emit("model", **dataclasses.asdict(choice))
    engine, adjusted = _engine_args(asked, choice, lab_dir)
    events.emit("engine", requested=asked.engine, adjusted=adjusted, used=engine)
    before = cache_entries()
    with events.during("engine"):
        llm = vllm.LLM(**engine)
    events.emit("compile_cache", before=before, after=cache_entries(), eager=bool(engine.get("enforce_eager")))
    _generate(llm, vllm.SamplingParams(**asked.sampling), asked, run_dir, events)
    with events.during("shutdown"):
        _write_metrics(run_dir)
        llm.llm_engine.engine_core.shutdown()


def _engine_args(asked: RunSpec, choice: model.Choice, lab_dir: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What LLM gets, and what the runner had to adjust to this machine, each with its reason."""
    engine = {"disable_log_stats": False, "seed": asked.seed, **asked.engine, "model": choice.used}
    adjusted: list[tuple[str, str | bool, str]] = []
    if choice.weights == "dummy" and "load_format" not in engine:
        adjusted.append(("load_format", "dummy", "a synthetic model of this size has no weights on disk"))
    lab = _lab_facts(lab_dir)
    if lab.get("compiler") is False and not engine.get("enforce_eager"):
        adjusted.append(("enforce_eager", True, "torch.compile needs a C++ compiler and Python headers; missing here"))
    engine.update({key: value for key, value, _ in adjusted})
    rows = [{"key": key, "value": value, "why": why} for key, value, why in adjusted]
    return engine, rows + (_cpu_settings(engine, choice) if lab.get("variant") == "cpu" else [])


def _cpu_settings(engine: dict[str, Any], choice: model.Choice) -> list[dict[str, Any]]:
    """What vLLM's CPU build needs on a small machine; only what nobody asked for otherwise, each with its reason."""
    rows: list[tuple[str, int | str, str]] = []
    if "VLLM_CPU_KVCACHE_SPACE" not in os.environ and "kv_cache_memory_bytes" not in engine:
        # Left alone, vLLM's CPU worker takes 92 % of all memory, or fails when that is not free
        # (vllm/v1/worker/cpu_worker.py, 0.32.0).
        space = max(1, min(2, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8 // _GIB))
        why = "GiB of KV cache: vLLM on CPU would take 92 % of the machine's memory"
        rows.append(("VLLM_CPU_KVCACHE_SPACE", space, why))
    if "VLLM_USE_AOT_COMPILE" not in os.environ and not engine.get("enforce_eager"):
        why = "the CPU build saves its AOT compile cache but cannot load it: a warm start is faster without"
        rows.append(("VLLM_USE_AOT_COMPILE", 0, why))
    for name, value, _ in rows:
        os.environ[name] = str(value)
    features = set(probe.cpu()["features"])
    if "dtype" not in engine and _config_dtype(choice.used) == "float16" and not features & {"avx512_fp16", "amx_fp16"}:
        why = "the model is float16, and this CPU has no float16 matrix instructions (half the speed)"
        rows.append(("dtype", "bfloat16", why))
        engine["dtype"] = "bfloat16"
    return [{"key": name, "value": value, "why": why} for name, value, why in rows]


def _config_dtype(folder: str) -> str | None:
    """torch_dtype (dtype in newer files) of a model folder's config.json, None where there is none."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config.get("dtype") or config.get("torch_dtype") if isinstance(config, dict) else None


def _lab_facts(lab_dir: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((lab_dir / "lab.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts


def cache_entries() -> int:
    """How many compiled libraries and GPU kernels lie in the caches of vLLM, inductor and Triton."""
    names = ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    folders = [Path(os.environ[name]) for name in names if os.environ.get(name)]
    found = {path for folder in folders for kind in ("*.so", "*.cubin") for path in folder.rglob(kind)}
    return len(found)


def _generate(llm: Any, sampling: Any, asked: RunSpec, run_dir: Path, events: Events) -> None:
    work = asked.workload
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
