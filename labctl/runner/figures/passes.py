"""Passes of vLLM's ``LLM`` class over the prompts: throughput, what is left out of it, and the requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.runner import rundir
from labctl.runner.figures.figure import Figure, json_lines, source, spread

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner import enginelog


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
        "throughput": spread([_rate(p) for p in clean], "tok/s", map(source, clean), note),
        "first_pass_throughput": spread([_rate(p) for p in first], "tok/s", map(source, first)),
        "tainted_passes": Figure(value=len(left_out), sources=[source(p) for p in left_out], note="; ".join(notes)),
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


def requests(run_dir: Path) -> dict[str, Figure]:
    """Time to first token and latency of the measured requests (median, least, greatest), and token counts."""
    rows = [(n, r) for n, r in json_lines(run_dir / rundir.REQUESTS) if not r.get("warmup")]
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
