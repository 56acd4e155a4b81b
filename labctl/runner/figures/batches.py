"""Runs over batch sizes: each size's throughput and latency, and what the tutorial's loop would have shown."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.runner import rundir
from labctl.runner.figures import engine, passes
from labctl.runner.figures.figure import Figure, json_lines, source, spread

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner import enginelog


_LOOP = "measured / tutorial's loop, which compiles, may end early (end of sequence), and repeats one prompt"


class Room(NamedTuple):
    """What an engine can run at once: sequences (``max_num_seqs``) and tokens in its cache; None: not known."""

    sequences: int | None
    tokens: int | None


def room(run_dir: Path, rows: list[dict[str, Any]], told: list[enginelog.Told]) -> Room:
    """As the engine told of itself (event ``resolved``, and its KV cache)."""
    resolved: dict[str, Any] = next((r for r in reversed(rows) if r["event"] == "resolved"), {})
    places, tokens = resolved.get("max_num_seqs"), engine.kv_cache(run_dir, told)["kv_tokens"].value
    return Room(places if isinstance(places, int) else None, tokens if isinstance(tokens, int) else None)


def sized(rows: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """The complete passes (see passes.py) of each batch size, sizes ascending; empty for a run of another kind."""
    found: dict[int, list[dict[str, Any]]] = {}
    for one in passes.passes(rows):
        size = one.get("size")
        if isinstance(size, int) and not isinstance(size, bool) and size > 0:
            found.setdefault(size, []).append(one)
    return dict(sorted(found.items()))


def batches(run_dir: Path, rows: list[dict[str, Any]], told: list[enginelog.Told]) -> dict[str, Figure]:
    """Figures of each size N as ``NAME_bN``; those of the whole run are the largest size's.

    ``throughput_bN`` (tok/s, median of the untainted repeats), ``tainted_bN`` (repeats left out), ``tutorial_bN``
    (tok/s of the tutorial's one pass on the fresh engine), ``first_pass_bN`` (of the first warm-up),
    ``warm_over_tutorial_bN`` (how many times faster the measured one is), ``token_latency_bN`` (seconds from one
    token of a request to its next, the prompt's share included, waiting for a place not), ``ttft_bN`` and
    ``latency_bN`` (s, of the requests).
    """
    by_size = sized(rows)
    if not by_size:
        return {}
    place = room(run_dir, rows, told)
    requests = [(n, r) for n, r in json_lines(run_dir / rundir.REQUESTS) if r.get("phase") == "generate"]
    named: dict[str, Figure] = {}
    for size, found in by_size.items():
        kept = {one.get("number") for one in passes.clean(found, told)}
        mine = [(n, r) for n, r in requests if r.get("size") == size and r.get("pass") in kept]
        named |= {f"{name}_b{size}": one for name, one in {**_speed(found, told, place), **_waits(mine)}.items()}
    largest = max(by_size)
    for name in ("throughput", "ttft", "latency"):
        named[name] = _of_largest(named[f"{name}_b{largest}"], largest)
    named["first_pass_throughput"] = _of_largest(passes.rates(by_size[largest][:1]), largest)
    every = [one for found in by_size.values() for one in found]
    named["tainted_passes"] = passes.left_out(every, told)
    return named


def _of_largest(figure: Figure, size: int) -> Figure:
    where = f"batch size {size}, the largest of the run"
    return replace(figure, note=f"{where}; {figure.note}" if figure.note else where)


def _speed(found: list[dict[str, Any]], told: list[enginelog.Told], place: Room) -> dict[str, Figure]:
    """What the passes of one size took."""
    measured = [one for one in found if one["phase"] in passes.MEASURED]
    shown = passes.of_shape(measured, told)
    named = {"throughput": shown["throughput"], "tainted": shown["tainted_passes"]}
    for name, phase in (("tutorial", "tutorial"), ("first_pass", "warmup")):
        first = [one for one in found if one["phase"] == phase][:1]
        if first:
            named[name] = passes.rates(first, passes.taint(first[0], told))
    if "tutorial" in named:
        named["warm_over_tutorial"] = _ratio(named["throughput"], named["tutorial"])
    kept = passes.clean(measured, told)
    made = [one for one in kept if one["output_tokens"]]
    steps = [one["seconds"] * sequences(one) / one["output_tokens"] / waves(one, place) for one in made]
    turns = max((waves(one, place) for one in made), default=1)
    note = f"the requests ran in {turns} waves" if turns > 1 else ""
    named["token_latency"] = spread([round(step, 6) for step in steps], "s", map(source, made), note)
    return named


def _ratio(warm: Figure, naive: Figure) -> Figure:
    if not isinstance(warm.value, float) or not isinstance(naive.value, float) or not naive.value:
        return Figure(value=None, unit="x", n=0, note="one of both is unknown")
    ratio = round(warm.value / naive.value, 3)
    return Figure(value=ratio, unit="x", sources=[*warm.sources, *naive.sources], note=_LOOP)


def sequences(one: dict[str, Any]) -> int:
    """How many texts a pass generated at once: its size, times ``n`` of the sampling arguments."""
    told = one.get("sequences")
    return told if isinstance(told, int) and told > 0 else int(one["size"])


def lengths(one: dict[str, Any]) -> tuple[float, float]:
    """Mean tokens of a pass's prompt and of its text."""
    prompt = one.get("prompt_tokens")
    before = prompt / one["size"] if isinstance(prompt, int) else 0.0
    return before, max(1.0, one["output_tokens"] / sequences(one))


def waves(one: dict[str, Any], place: Room) -> int:
    """How many batches a pass ran in, one after another: more sequences than there is room for wait."""
    many = sequences(one)
    fitting = [place.sequences, place.tokens // sum(lengths(one)) if place.tokens is not None else None]
    return math.ceil(many / max(1.0, min([many, *(most for most in fitting if most is not None)])))


def _waits(requests: list[tuple[int, dict[str, Any]]]) -> dict[str, Figure]:
    """Time to first token and latency of the requests in the repeats that count."""
    named = [f"{rundir.REQUESTS}:{requests[0][0]}-{requests[-1][0]}"] if requests else []
    found = {}
    for name, key in (("ttft", "ttft_s"), ("latency", "latency_s")):
        values = [r[key] for _, r in requests if isinstance(r.get(key), (int, float))]
        why = "this vLLM does not say" if requests else "nothing was measured"
        found[name] = spread(values, "s", named, "" if values else why)
    return found
