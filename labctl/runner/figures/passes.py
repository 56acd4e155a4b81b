"""Passes of vLLM's ``LLM`` class over the prompts: throughput, what is left out of it, and the requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.runner import rundir
from labctl.runner.figures import taints
from labctl.runner.figures.figure import Figure, json_lines, source, spread

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner import enginelog


MEASURED = ("warmup", "generate")


def throughput(rows: list[dict[str, Any]], told: list[enginelog.Told]) -> dict[str, Figure]:
    """Of a run whose passes are all of one shape (runs over batch sizes: batches.py)."""
    found = [one for one in passes(rows) if one["phase"] in MEASURED and "size" not in one]
    named = of_shape(found, told)
    named["first_pass_throughput"] = rates(found[:1])
    named["tainted_passes"] = left_out(found, told)
    return named


def of_shape(found: list[dict[str, Any]], told: list[enginelog.Told]) -> dict[str, Figure]:
    """``throughput`` and ``tainted_passes`` of passes over the same prompts.

    The first: generated tokens per second over a whole pass (all prompts at once), median of the untainted repeats;
    the second: how many repeats were left out of it.
    """
    tainted = {one["line"]: why for one in found if (why := taint(one, told))}
    notes = [f"pass {one.get('number')}: {tainted[one['line']]}" for one in found if one["line"] in tainted]
    left_out = [one for one in found if one["phase"] == "generate" and one["line"] in tainted]
    note = f"left out: {'; '.join(notes)}" if left_out else ""
    return {
        "throughput": rates(clean(found, told), note),
        "tainted_passes": Figure(value=len(left_out), sources=[source(p) for p in left_out], note="; ".join(notes)),
    }


def left_out(found: list[dict[str, Any]], told: list[enginelog.Told]) -> Figure:
    """``tainted_passes`` of a whole run; where nothing was seen, the note says what can be."""
    figure = of_shape(found, told)["tainted_passes"]
    figure.note = figure.note or taints.BLIND
    return figure


def passes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """End events of complete passes, each with the ``began`` of its phase: tutorial, warmup or generate."""
    found, began = [], 0.0
    for one in rows:
        if one["event"] == "begin":
            began = one["t"]
        elif one["event"] == "end" and str(one.get("phase")) in {"tutorial", *MEASURED}:
            seconds, tokens = one.get("seconds"), one.get("output_tokens")
            if isinstance(seconds, (int, float)) and seconds > 0 and isinstance(tokens, int):
                found.append({**one, "began": began})
    return found


def clean(found: list[dict[str, Any]], told: list[enginelog.Told]) -> list[dict[str, Any]]:
    """The measured repeats that nothing taints."""
    return [one for one in found if one["phase"] == "generate" and not taint(one, told)]


def taint(one: dict[str, Any], told: list[enginelog.Told]) -> str:
    """Why a pass must not be averaged in: a kernel was compiled during it, or it hit a warm prefix cache."""
    if compiled := taints.compiled(told, one["began"], one["t"]):
        return compiled
    # After a reset, only prompts of the same batch can have shared a prefix: that is the workload's own.
    if one.get("cached_tokens") and not one.get("prefix_cache_reset"):
        return f"{one['cached_tokens']} prompt tokens came from a warm prefix cache"
    return ""


def rate(one: dict[str, Any]) -> float:
    """Generated tokens per second of one pass."""
    return float(round(one["output_tokens"] / one["seconds"], 3))


def rates(found: list[dict[str, Any]], note: str = "") -> Figure:
    """Generated tokens per second of these passes."""
    return spread([rate(one) for one in found], "tok/s", map(source, found), note)


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
