"""How far each throughput is from what its machine can do. The formulas and their sources stand in roofline.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.runner import rundir
from labctl.runner.figures import batches, passes, roofline
from labctl.runner.figures.figure import Figure, source, spread
from labctl.runner.figures.machine import GIGA, Machine, ceilings, machine

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner import enginelog


class Step(NamedTuple):
    """What one step of a pass took: bytes and FLOP (None: unknown), tokens it made, and steps a second."""

    bytes: float | None
    flop: float | None
    tokens: float
    per_s: float


def limits(run_dir: Path, rows: list[dict[str, Any]], told: list[enginelog.Told]) -> dict[str, Figure]:
    """The machine's ceilings, the model's size, and for each batch size N the distance from its limit.

    ``bandwidth_utilisation_bN`` and ``flop_utilisation_bN`` (%), of the untainted repeats; ``limit_bN`` (tok/s): what
    the roofline allows, by memory or by matrix rate, whichever is less. {} for a run that measured no ceilings.
    """
    shape = next((r for r in reversed(rows) if r["event"] == "model_shape"), None)
    resolved: dict[str, Any] = next((r for r in reversed(rows) if r["event"] == "resolved"), {})
    named = ceilings(run_dir, rows)
    if shape is not None:
        named["model_params"] = _params(shape)
    room = batches.room(run_dir, rows, told)
    can, model = machine(run_dir, resolved), roofline.model(shape or {}, resolved)
    for size, found in batches.sized(rows).items() if named else ():
        kept = passes.clean(found, told)
        steps = [_step(one, room, model) for one in kept]
        named |= {f"{name}_b{size}": figure for name, figure in _of_size(kept, steps, can, model).items()}
    return named


def _params(shape: dict[str, Any]) -> Figure:
    params = shape.get("params")
    if not isinstance(params, int):
        return Figure(value=None, unit="parameters", n=0, note=str(shape.get("error") or "not known"))
    tied = ", which is the output's too" if shape.get("tied") else ""
    note = f"{shape.get('embedding_params')} of them in the input embedding{tied}"
    return Figure(value=params, unit="parameters", sources=[source(shape)], note=note)


def _step(one: dict[str, Any], room: batches.Room, model: roofline.Model) -> Step:
    """The mean step of a pass, in its waves."""
    many, (before, output), waves = batches.sequences(one), batches.lengths(one), batches.waves(one, room)
    context = roofline.mean_context(before, output)
    return Step(
        bytes=roofline.step_bytes(model, many / waves, context),
        flop=roofline.step_flop(model, many / waves, context),
        tokens=many / waves,
        per_s=waves * output / one["seconds"],
    )


def _of_size(kept: list[dict[str, Any]], steps: list[Step], can: Machine, model: roofline.Model) -> dict[str, Figure]:
    sources = [*map(source, kept), rundir.CEILINGS]
    read = [100 * step.bytes * step.per_s / can.bandwidth for step in steps if step.bytes and can.bandwidth]
    done = [100 * step.flop * step.per_s / can.flop for step in steps if step.flop and can.flop]
    why = "" if steps else "nothing was measured"
    no_bytes = why or ("" if can.bandwidth else can.why_not) or model.no_bytes
    no_flop = why or ("" if can.flop else can.no_flop) or model.no_flop
    return {
        "bandwidth_utilisation": _share(read, sources, no_bytes or _amount(steps[0].bytes, "GB")),
        "flop_utilisation": _share(done, sources, no_flop or _amount(steps[0].flop, "GFLOP", can.unlike)),
        "limit": _limit(steps, can, no_bytes or no_flop),
    }


def _share(values: list[float], sources: list[str], note: str) -> Figure:
    return spread([round(value, 3) for value in values], "%", sources if values else [], note)


def _amount(value: float | None, unit: str, also: str = "") -> str:
    return "; ".join(filter(None, (f"{(value or 0.0) / GIGA:.4g} {unit} a step", also)))


def _limit(steps: list[Step], can: Machine, why: str) -> Figure:
    """Tokens a second when a step takes no longer than the slower of memory and matrix units."""
    if why or not (can.bandwidth and can.flop):
        return Figure(value=None, unit="tok/s", n=0, note=why or can.why_not)
    step = steps[0]
    seconds = {"memory": (step.bytes or 0.0) / can.bandwidth, "matrix rate": (step.flop or 0.0) / can.flop}
    bound = max(seconds, key=lambda name: seconds[name])
    value = round(step.tokens / seconds[bound], 3) if seconds[bound] else None
    note = "; ".join(filter(None, (f"bound by the {bound}", can.unlike if bound == "matrix rate" else "")))
    return Figure(value=value, unit="tok/s", sources=[rundir.CEILINGS], note=note)
