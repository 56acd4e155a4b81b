"""What NVML told of the GPUs while the engine worked: power, clocks, heat, load, and what held their clocks back."""

from __future__ import annotations

from labctl.runner import rundir
from labctl.runner.at_work import AT_WORK
from labctl.runner.figures.figure import Figure, spread
from labctl.runner.figures.resources import Sample, known

# Bit -> name: nvml.h, nvmlClocksEventReason*; the last two stand in pynvml's nvmlClocksThrottleReason* alone.
REASONS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
# There was nothing to do, or somebody chose the clocks: neither is a card that could not go on.
HARMLESS = ("gpu_idle", "applications_clocks_setting")
_EXACT = 2**53  # integers below it are read from a text as they stand there
_OF_SAMPLES = "of the samples while the engine worked"
_SILENT = "NVML does not say on this machine"
# Figure, column of samples.csv, unit: median with least and greatest.
_OVER_TIME = (
    ("gpu_power", "power_w", "W"),
    ("gpu_sm_clock", "sm_clock_mhz", "MHz"),
    ("gpu_mem_clock", "mem_clock_mhz", "MHz"),
    ("gpu_util", "gpu_util", "%"),
    ("gpu_mem_util", "gpu_mem_util", "%"),
)


def gpu(sampled: list[Sample]) -> dict[str, Figure]:
    """Of all samples of the GPUs that worked, in the phases of AT_WORK; {} where no GPU was sampled in one.

    Medians with least and greatest, each over all samples of all these GPUs: ``gpu_power`` (W, of one GPU),
    ``gpu_sm_clock``, ``gpu_mem_clock`` (MHz), ``gpu_util``, ``gpu_mem_util`` (% of the time in which a kernel ran, and
    in which memory was read or written). ``peak_gpu_temperature`` (Celsius). ``gpu_throttled``: in how many of the
    samples (%) something held the clocks back, and ``throttle_NAME`` the same of each reason that was ever set.
    """
    working = _working(sampled)
    if not working:
        return {}
    named = ", ".join(sorted({f"{one.values['gpu']:.0f}" for one in working}))
    note = f"GPU {named}, while the engine worked"
    found = {name: _over_time(working, key, unit, note) for name, key, unit in _OVER_TIME}
    found["peak_gpu_temperature"] = _hottest(working, note)
    return {**found, **_held_back(working)}


def names(mask: int) -> list[str]:
    """The reasons of a bit mask; a bit that nvml.h does not name here is its own name (``0x800``)."""
    bits = (1 << place for place in range(mask.bit_length()))
    return [REASONS.get(bit, hex(bit)) for bit in bits if mask & bit]


def whole_mask(value: float | None) -> int | None:
    """A number of the column ``throttle`` as a bit mask; None where it is none."""
    return int(value) if value is not None and 0 <= value < _EXACT and value == int(value) else None


def _working(sampled: list[Sample]) -> list[Sample]:
    """Of GPUs that were busy at all: a host's other cards, idle, are no part of the run. All, where none was."""
    rows = [one for one in sampled if one.phase in AT_WORK and one.values.get("gpu") is not None]
    busy = {one.values["gpu"] for one in rows if one.values.get("gpu_util")}
    return [one for one in rows if one.values["gpu"] in busy] if busy else rows


def _over_time(working: list[Sample], key: str, unit: str, note: str) -> Figure:
    values = known(working, key)
    if not values:
        return Figure(value=None, unit=unit, n=0, note=_SILENT)
    return spread([value for value, _ in values], unit, [_lines([line for _, line in values])], note)


def _hottest(working: list[Sample], note: str) -> Figure:
    values = known(working, "temp_c")
    if not values:
        return Figure(value=None, unit="°C", n=0, note=_SILENT)
    value, line = max(values)
    return Figure(value=value, unit="°C", n=len(values), sources=[f"{rundir.SAMPLES}:{line}"], note=note)


def _held_back(working: list[Sample]) -> dict[str, Figure]:
    masks = [(mask, line) for value, line in known(working, "throttle") if (mask := whole_mask(value)) is not None]
    if not masks:
        return {"gpu_throttled": Figure(value=None, unit="%", n=0, note=_SILENT)}
    told = [(names(mask), line) for mask, line in masks]
    seen = [*REASONS.values(), *sorted({name for found, _ in told for name in found} - set(REASONS.values()))]
    lines = {name: [line for found, line in told if name in found] for name in seen}
    shares = {name: _share(where, len(told)) for name, where in lines.items() if where}
    held = [line for found, line in told if not set(found) <= set(HARMLESS)]
    why = "; ".join(f"{name} in {one.value} %" for name, one in shares.items() if name not in HARMLESS)
    whole = _share(held, len(told))
    whole.note = why or whole.note
    whole.sources = [_lines(held or [line for _, line in told])]
    return {"gpu_throttled": whole, **{f"throttle_{name}": one for name, one in shares.items()}}


def _share(lines: list[int], count: int) -> Figure:
    """Percent of the samples; ``sources`` are the rows from the first one on, to the last."""
    value = round(100 * len(lines) / count, 1)
    return Figure(value=value, unit="%", n=count, sources=[_lines(lines)] if lines else [], note=_OF_SAMPLES)


def _lines(lines: list[int]) -> str:
    first, last = min(lines), max(lines)
    return f"{rundir.SAMPLES}:{first}" + (f"-{last}" if last > first else "")
