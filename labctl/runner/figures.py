"""Figures: numbers with unit, spread and the raw lines they came from. Pure functions over a run directory.

The host computes them once for the record; ``labctl verify`` computes them again from the same files.
"""

from __future__ import annotations

import contextlib
import csv
import math
import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from labctl.runner import enginelog, events, prom, rundir

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


@dataclass(slots=True, kw_only=True)
class Figure:
    """``value`` None: unknown, ``note`` says why. ``low`` and ``high``: least and greatest of ``n`` values."""

    value: float | str | None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    n: int = 1
    sources: list[str] = field(default_factory=list)
    note: str = ""


def compute(run_dir: Path) -> dict[str, dict[str, Any]]:
    """Every figure of the run by name, as plain data. Missing raw files give unknown figures, never an error."""
    rows = events.read(run_dir)
    told = enginelog.facts(run_dir)
    found = {
        **throughput(rows, told),
        **startup(rows),
        **kv_cache(run_dir, told),
        **reported(told),
        "compile_cache": compile_cache(rows, told),
        **requests(run_dir),
        **resources(run_dir),
    }
    return {name: asdict(figure) for name, figure in found.items()}


def spread(values: list[float], unit: str, sources: Iterable[str], note: str = "") -> Figure:
    """Median of ``values`` with least and greatest; unknown where there is none."""
    if not values:
        return Figure(value=None, unit=unit, n=0, note=note or "nothing was measured")
    low, high = min(values), max(values)
    middle = round(statistics.median(values), 6)
    return Figure(value=middle, unit=unit, low=low, high=high, n=len(values), sources=list(sources), note=note)


def throughput(rows: list[dict[str, Any]], told: list[enginelog.Told]) -> dict[str, Figure]:
    """Generated tokens per second over a whole pass (all prompts at once), median of the untainted repeats."""
    passes = _passes(rows)
    tainted = {p["line"]: why for p in passes if (why := _taint(p, told))}
    clean = [p for p in passes if p["phase"] == "generate" and p["line"] not in tainted]
    first = passes[:1]
    notes = [f"pass {p.get('number')}: {tainted[p['line']]}" for p in passes if p["line"] in tainted]
    left_out = [p for p in passes if p["phase"] == "generate" and p["line"] in tainted]
    note = f"left out: {'; '.join(notes)}" if left_out else ""
    return {
        "throughput": spread([_rate(p) for p in clean], "tok/s", map(_source, clean), note),
        "first_pass_throughput": spread([_rate(p) for p in first], "tok/s", map(_source, first)),
        "tainted_passes": Figure(value=len(left_out), sources=[_source(p) for p in left_out], note="; ".join(notes)),
    }


def _passes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """End events of complete passes, each with the ``began`` of its phase."""
    found, began = [], 0.0
    for one in rows:
        if one["event"] == "begin":
            began = one["t"]
        elif one["event"] == "end" and str(one.get("phase")) in {"warmup", "generate"}:
            seconds, tokens = one.get("seconds"), one.get("output_tokens")
            if isinstance(seconds, (int, float)) and seconds > 0 and isinstance(tokens, int):
                found.append({**one, "began": began})
    return found


def _taint(one: dict[str, Any], told: list[enginelog.Told]) -> str:
    """Why a pass must not be averaged in: a kernel was compiled during it, or it hit a warm prefix cache."""
    kernels = [
        str(fact.fields.get("kernel", "?"))
        for fact in told
        if fact.name == "jit_during_inference" and one["began"] <= fact.t <= one["t"]
    ]
    if kernels:
        return f"vLLM compiled {', '.join(kernels)} meanwhile"
    # After a reset, only prompts of the same batch can have shared a prefix: that is the workload's own.
    if one.get("cached_tokens") and not one.get("prefix_cache_reset"):
        return f"{one['cached_tokens']} prompt tokens came from a warm prefix cache"
    return ""


def _rate(one: dict[str, Any]) -> float:
    return float(round(one["output_tokens"] / one["seconds"], 3))


def _source(one: dict[str, Any]) -> str:
    return f"{rundir.EVENTS}:{one['line']}"


def startup(rows: list[dict[str, Any]]) -> dict[str, Figure]:
    """Seconds from the worker's start until the engine answered; finding, fetching or making the model left out."""
    start = next((r for r in rows if r["event"] == "start"), None)
    ready = next((r for r in rows if r["event"] == "end" and r.get("phase") == "engine"), None)
    if start is None or ready is None:
        return {"startup": Figure(value=None, unit="s", n=0, note="the engine never came up")}
    model = [r["t"] for r in rows if r.get("phase") == "model" and r["event"] in {"begin", "end"}]
    aside = model[1] - model[0] if len(model) == 2 else 0.0  # noqa: PLR2004 - one begin and one end
    sources = [f"{rundir.EVENTS}:{start['line']}", f"{rundir.EVENTS}:{ready['line']}"]
    note = f"without {aside:.1f} s for finding the model" if aside else ""
    return {"startup": Figure(value=round(ready["t"] - start["t"] - aside, 3), unit="s", sources=sources, note=note)}


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


def requests(run_dir: Path) -> dict[str, Figure]:
    """Time to first token and latency of the measured requests (median, least, greatest), and token counts."""
    rows = [(n, r) for n, r in _json_lines(run_dir / rundir.REQUESTS) if not r.get("warmup")]
    named = f"{rundir.REQUESTS}:{rows[0][0]}-{rows[-1][0]}" if rows else rundir.REQUESTS
    found = {}
    for name, key in (("ttft", "ttft_s"), ("latency", "latency_s")):
        values = [r[key] for _, r in rows if isinstance(r.get(key), (int, float))]
        why = "this vLLM does not say" if rows else "nothing was measured"
        found[name] = spread(values, "s", [named], "" if values else why)
    for name in ("prompt_tokens", "output_tokens"):
        counts = [r[name] for _, r in rows if isinstance(r.get(name), int)]
        total = sum(counts) if counts else None
        found[name] = Figure(value=total, unit="tokens", n=len(counts), sources=[named], note="all measured passes")
    return found


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.is_file():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), 1):
        row = events.lenient(line)
        if row:
            yield number, row


def resources(run_dir: Path) -> dict[str, Figure]:
    """Greatest memory of the worker's process tree and of the GPUs (bytes), and the sampler's rate (Hz)."""
    rows = list(_samples(run_dir))
    times = sorted({t for r in rows if (t := r.get("t")) is not None})
    found = {
        "peak_rss": _peak(rows, "rss", "sum over the worker's processes, shared pages in each"),
        "peak_gpu_memory": _peak(rows, "gpu_mem_used", "greatest on one GPU"),
    }
    rate = round((len(times) - 1) / (times[-1] - times[0]), 2) if len(times) > 1 else None
    found["sampler_rate"] = Figure(value=rate, unit="Hz", n=len(times), sources=[rundir.SAMPLES])
    return found


def _peak(rows: list[dict[str, float | None]], key: str, note: str) -> Figure:
    values = [(value, line) for line, r in enumerate(rows, 2) if (value := r.get(key)) is not None]
    if not values:
        return Figure(value=None, unit="bytes", n=0, note="not sampled on this machine")
    value, line = max(values)
    return Figure(value=int(value), unit="bytes", n=len(values), sources=[f"{rundir.SAMPLES}:{line}"], note=note)


def _samples(run_dir: Path) -> Iterator[dict[str, float | None]]:
    path = run_dir / rundir.SAMPLES
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8", errors="replace") as handle, contextlib.suppress(csv.Error):
        for row in csv.DictReader(handle):
            yield {key: _number(value) for key, value in row.items() if isinstance(key, str)}


def _number(text: object) -> float | None:
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def memory_ran_out(run_dir: Path) -> bool:
    """Whether the engine's log says that memory (GPU, host or KV cache) was too small."""
    return any(fact.name == "out_of_memory" for fact in enginelog.facts(run_dir))
