"""What the engine's start came to: seconds, KV cache, what its log reports, its compile cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.runner import prom, rundir
from labctl.runner.figures.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner import enginelog


# What happens before the engine's start and is none of it.
_ASIDE = ("model", "ceilings", "model_shape", "client")


def startup(rows: list[dict[str, Any]]) -> dict[str, Figure]:
    """Seconds from the worker's start until the engine answered.

    Left out: finding, fetching or making the model, measuring the machine and the model's size,
    asking ``vllm bench serve`` for its flags.
    """
    start = next((r for r in rows if r["event"] == "start"), None)
    ready = next((r for r in rows if r["event"] == "end" and r.get("phase") == "engine"), None)
    attached = next((r for r in rows if r["event"] == "server" and r.get("run")), None)
    if attached is not None:
        place = f"{rundir.EVENTS}:{attached['line']}"
        note = f"measured the server of run {attached['run']}, which was up already"
        return {"startup": Figure(value=None, unit="s", n=0, sources=[place], note=note)}
    if start is None or ready is None:
        return {"startup": Figure(value=None, unit="s", n=0, note="the engine never came up")}
    aside = sum(_seconds(rows, phase) for phase in _ASIDE)
    sources = [f"{rundir.EVENTS}:{start['line']}", f"{rundir.EVENTS}:{ready['line']}"]
    note = f"without {aside:.1f} s for finding model and client, measuring the machine" if aside else ""
    return {"startup": Figure(value=round(ready["t"] - start["t"] - aside, 3), unit="s", sources=sources, note=note)}


def _seconds(rows: list[dict[str, Any]], phase: str) -> float:
    """How long a phase took that came once and ended; 0 where it did not."""
    times = [r["t"] for r in rows if r.get("phase") == phase and r["event"] in {"begin", "end"}]
    return float(times[1] - times[0]) if len(times) == 2 else 0.0  # noqa: PLR2004 - one begin and one end


def kv_cache(run_dir: Path, told: list[enginelog.Told]) -> dict[str, Figure]:
    """Blocks, tokens a block, cacheable tokens and concurrency: from ``vllm:cache_config_info``, else the log.

    tokens = blocks x block size (tokens that fit in the cache at once). The log's own figure can differ: vLLM
    counts what a request of the maximum length can use (vllm/v1/core/kv_cache_utils.py, 0.32.0).
    """
    found: dict[str, Figure] = {}
    path = run_dir / rundir.METRICS
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    info = next((s for s in prom.samples(text) if s.name == "vllm:cache_config_info"), None)
    blocks = _whole(info.labels.get("num_gpu_blocks")) if info else None
    size = _whole(info.labels.get("block_size")) if info else None
    source = [f"{rundir.METRICS}:{info.line}"] if info else []
    found["kv_blocks"] = _maybe(blocks, "blocks", source)
    found["kv_block_size"] = _maybe(size, "tokens", source)
    logged = next((fact for fact in told if fact.name == "kv_cache_tokens"), None)
    if blocks and size:
        found["kv_tokens"] = Figure(value=blocks * size, unit="tokens", sources=source, note="blocks x block size")
    else:
        found["kv_tokens"] = _from_log(logged, "tokens", "tokens")
    concurrency = next((fact for fact in told if fact.name == "kv_max_concurrency"), None)
    found["kv_max_concurrency"] = _from_log(concurrency, "concurrency", "requests")
    if concurrency and "per_request_tokens" in concurrency.fields:
        found["kv_max_concurrency"].note = f"of {concurrency.fields['per_request_tokens']} tokens each"
    return found


def reported(told: list[enginelog.Told]) -> dict[str, Figure]:
    """What the engine itself says of its start, in seconds and GiB."""
    wanted = {
        "model_load_seconds": (("model_loading", "weights_loading"), "seconds", "s"),
        "model_load_gib": (("model_loading", "checkpoint_size"), "gib", "GiB"),
        "engine_init": (("engine_init",), "seconds", "s"),
        "compile_seconds": (("compile_total",), "seconds", "s"),
    }
    return {
        name: _from_log(next((f for kind in kinds for f in told if f.name == kind), None), key, unit)
        for name, (kinds, key, unit) in wanted.items()
    }


def _from_log(fact: enginelog.Told | None, key: str, unit: str) -> Figure:
    if fact is None or key not in fact.fields:
        return Figure(value=None, unit=unit, n=0, note="the engine's log does not say")
    note = "the checkpoint on disk" if fact.name == "checkpoint_size" else ""
    return Figure(value=fact.fields[key], unit=unit, sources=[f"{rundir.ENGINE_LOG}:{fact.line}"], note=note)


def _maybe(value: float | None, unit: str, sources: list[str]) -> Figure:
    if value is None:
        return Figure(value=None, unit=unit, n=0, note="the engine's metrics do not say")
    return Figure(value=value, unit=unit, sources=sources)


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


# Any of these lines: something went through torch.compile, into or out of the cache.
_COMPILED = {"compile_total", "compile_cache_hit", "compile_cache_saved", "dynamo_time", "graph_compile", "cpu_warmup"}


def compile_cache(rows: list[dict[str, Any]], told: list[enginelog.Told]) -> Figure:
    """``cold``: something had to be compiled; ``warm``: all of it lay in the cache; ``off``: nothing is compiled."""
    said = next((r for r in rows if r["event"] == "compile_cache"), None)
    if said is None:
        return Figure(value=None, n=0, note="not recorded")
    before, after = said.get("before") or 0, said.get("after") or 0
    note = f"{before} compiled files before the start, {after} after"
    value: str | None
    if said.get("eager") or not any(fact.name in _COMPILED for fact in told):
        value = "off"
    else:
        value = "cold" if after > before else "warm" if before else None
    return Figure(value=value, sources=[f"{rundir.EVENTS}:{said['line']}"], note=note)
