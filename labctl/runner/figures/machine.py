"""What the machine was measured to do at most (bench/ceilings.json, written by ceilings.py)."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.runner import rundir
from labctl.runner.figures.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GIGA, TERA = 1e9, 1e12
BANDWIDTH, MATMUL = ("bandwidth", "bytes_per_s"), ("matmul", "flop_per_s")


class Machine(NamedTuple):
    """Bytes and FLOP a second of all devices that share a step's work; None: unknown, ``why_not`` says why.

    ``no_flop``: why the FLOP alone are unknown; ``unlike``: in what else they were measured than they are used.
    """

    bandwidth: float | None
    flop: float | None
    why_not: str
    no_flop: str
    unlike: str


def ceilings(run_dir: Path, rows: list[dict[str, Any]]) -> dict[str, Figure]:
    """``ceiling_bandwidth`` (GB/s) and ``ceiling_matmul`` (TFLOP/s) of one device; {} where none were asked for.

    The best of the repeats, as STREAM reports: what a busy machine did in the others is no limit.
    """
    held = read_object(run_dir / rundir.CEILINGS)
    tried = next((r for r in rows if r["event"] == "end" and r.get("phase") == "ceilings"), None)
    if not held and tried is None:
        return {}
    why = str((tried or {}).get("error") or "not measured")
    return {
        "ceiling_bandwidth": _ceiling(held, BANDWIDTH, "GB/s", GIGA, why),
        "ceiling_matmul": _ceiling(held, MATMUL, "TFLOP/s", TERA, why),
    }


def _ceiling(held: dict[str, Any], place: tuple[str, str], unit: str, scale: float, why: str) -> Figure:
    values = repeats(held, place)
    if not values:
        return Figure(value=None, unit=unit, n=0, note=why)
    inner = held[place[0]]
    when = str(inner.get("measured_utc") or held.get("measured_utc"))[:16]
    note = f"{inner.get('how')}; best of {len(values)}, measured {when}"
    note += " by an earlier run" if held.get("reused") else ""
    if held.get("busy"):
        note += "; the device was busy with other work, so it can do more"
    low, high = round(min(values) / scale, 3), round(max(values) / scale, 3)
    return Figure(value=high, unit=unit, low=low, high=high, n=len(values), sources=[rundir.CEILINGS], note=note)


def machine(run_dir: Path, resolved: Mapping[str, Any]) -> Machine:
    """The rates of the devices together: tensor parallel ones, each with its share of the weights.

    Unknown for a pipeline: its stages take a step one after another, and how many batches share them varies.

    ``resolved``: the event of that name. On CPU it is the hosts of a span: one measurement is of a whole CPU.
    """
    held = read_object(run_dir / rundir.CEILINGS)
    devices = _whole(resolved, "tensor_parallel_size")
    if held.get("kind") == "cpu":
        span = read_object(run_dir / rundir.SPEC).get("span")
        hosts = span.get("hosts") if isinstance(span, dict) else None
        devices = len(hosts) if isinstance(hosts, list) and hosts else 1
    why = "the machine's limits were not measured"
    if resolved.get("speculative"):
        why, held = "with speculative decoding a step makes more than one token", {}
    elif _whole(resolved, "data_parallel_size") > 1:
        why, held = "data parallel engines have batches of their own", {}
    elif _whole(resolved, "pipeline_parallel_size") > 1:
        why, held = "the stages of a pipeline take a step one after another: not the sum of their rates", {}
    bandwidth, flop = repeats(held, BANDWIDTH), repeats(held, MATMUL)
    unlike, comparable = _unlike(held, resolved)
    return Machine(
        bandwidth=max(bandwidth) * devices if bandwidth else None,
        flop=max(flop) * devices if flop and comparable else None,
        why_not=why,
        no_flop=why if comparable or not flop else unlike,
        unlike=unlike,
    )


def _unlike(held: dict[str, Any], resolved: Mapping[str, Any]) -> tuple[str, bool]:
    """In what another number type the matrix rate was measured ("": in the engine's), and whether it counts still.

    It does between the two types of 16 bits on a GPU: one with matrix units for both runs them at one rate, and on
    one without bfloat16 rates.py measures float16.
    """
    inner = held.get("matmul")
    measured, used = inner.get("dtype") if isinstance(inner, dict) else None, resolved.get("dtype")
    if not measured or not used or measured == used:
        return "", True
    alike = held.get("kind") == "cuda" and {str(measured), str(used)} == {"float16", "bfloat16"}
    return f"the matrix rate was measured in {measured}, the engine multiplies in {used}", alike


def _whole(resolved: Mapping[str, Any], key: str) -> int:
    value = resolved.get(key)
    return value if isinstance(value, int) and value > 0 else 1


def repeats(held: dict[str, Any], place: tuple[str, str]) -> list[float]:
    """The repeats of one measurement, those that are numbers above zero."""
    inner = held.get(place[0])
    values = inner.get(place[1]) if isinstance(inner, dict) else None
    found = values if isinstance(values, list) else []
    return [float(v) for v in found if type(v) in {int, float} and 0 < v < math.inf]


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
