"""What NVML told of the GPUs while the engine worked: power, clocks, heat, load, and what held their clocks back."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from labctl.runner import rundir
from labctl.runner.at_work import ASKED
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
_WHILE = "while the engine worked"
_OF_SAMPLES = f"of the samples {_WHILE}"
_MOST = "greatest"
_SILENT = "NVML does not say on this machine"
# Figure, column of samples.csv, unit: median with least and greatest; what the worst of several GPUs is called.
_OVER_TIME = (
    ("gpu_power", "power_w", "W", _MOST),
    ("gpu_sm_clock", "sm_clock_mhz", "MHz", "slowest"),
    ("gpu_mem_clock", "mem_clock_mhz", "MHz", "slowest"),
    ("gpu_util", "gpu_util", "%", "idlest"),
    ("gpu_mem_util", "gpu_mem_util", "%", "idlest"),
)
_Cards = dict[float, list[Sample]]


class _Rows(NamedTuple):
    """Some rows of samples.csv: how many, and the lines of the first and of the last."""

    many: int
    first: int
    last: int


def gpu(sampled: list[Sample]) -> dict[str, Figure]:
    """Of the run's GPUs, in the phases of ASKED; {} where no GPU was sampled in one.

    Each figure is of one GPU; where the run has several, of the worst of them, which its ``note`` names. Medians with
    least and greatest: ``gpu_power`` (W), ``gpu_sm_clock``, ``gpu_mem_clock`` (MHz), ``gpu_util``, ``gpu_mem_util``
    (% of the time in which a kernel ran, and in which memory was read or written). ``peak_gpu_temperature`` (Celsius).
    ``gpu_throttled``: in how many of the samples (%) something held the clocks back, and ``throttle_NAME`` the same of
    each reason that was ever set.
    """
    cards = _cards(sampled)
    if not cards:
        return {}
    found = {name: _over_time(cards, key, unit, how) for name, key, unit, how in _OVER_TIME}
    found["peak_gpu_temperature"] = _hottest(cards)
    return {**found, **_held_back(cards)}


def names(mask: int) -> list[str]:
    """The reasons of a bit mask; a bit that nvml.h does not name here is its own name (``0x800``)."""
    bits = (1 << place for place in range(mask.bit_length()))
    return [REASONS.get(bit, hex(bit)) for bit in bits if mask & bit]


def whole_mask(value: float | None) -> int | None:
    """A number of the column ``throttle`` as a bit mask; None where it is none."""
    return int(value) if value is not None and 0 <= value < _EXACT and value == int(value) else None


def _cards(sampled: list[Sample]) -> _Cards:
    """Samples at work of each of the run's GPUs; where these are not known, of all that were busy at all, else of all.

    A host's other cards are no part of the run, whoever works on them.
    """
    rows = [one for one in sampled if one.phase in ASKED and one.gpu is not None]
    chosen = {one.gpu for one in rows if one.ours} or {one.gpu for one in rows if one.gpu_util}
    cards: dict[float, list[Sample]] = {}
    for one in rows:
        if one.gpu is not None and (not chosen or one.gpu in chosen):
            cards.setdefault(one.gpu, []).append(one)
    return dict(sorted(cards.items()))


def _which(cards: _Cards, card: float, how: str) -> str:
    return f"GPU {card:.0f}" + (f", the {how} of {len(cards)}" if len(cards) > 1 else "")


def _over_time(cards: _Cards, key: str, unit: str, how: str) -> Figure:
    told = {card: values for card, rows in cards.items() if (values := known(rows, key))}
    if not told:
        return Figure(value=None, unit=unit, n=0, note=_SILENT)
    medians = {card: statistics.median(value for value, _ in values) for card, values in told.items()}
    card = (max if how == _MOST else min)(medians, key=lambda one: medians[one])
    lines = [line for _, line in told[card]]
    note = f"{_which(cards, card, how)}, {_WHILE}"
    return spread([value for value, _ in told[card]], unit, [_span(min(lines), max(lines))], note)


def _hottest(cards: _Cards) -> Figure:
    told = {card: values for card, rows in cards.items() if (values := known(rows, "temp_c"))}
    if not told:
        return Figure(value=None, unit="°C", n=0, note=_SILENT)
    peaks = {card: max(values) for card, values in told.items()}
    card = max(peaks, key=lambda one: peaks[one][0])
    value, line = peaks[card]
    note = f"{_which(cards, card, 'hottest')}, {_WHILE}"
    return Figure(value=value, unit="°C", n=len(told[card]), sources=[f"{rundir.SAMPLES}:{line}"], note=note)


def _held_back(cards: _Cards) -> dict[str, Figure]:
    """What held the clocks back, and each reason by itself: each of the GPU with the greatest share of it."""
    told = {card: masks for card, rows in cards.items() if (masks := _masks(rows))}
    if not told:
        return {"gpu_throttled": Figure(value=None, unit="%", n=0, note=_SILENT)}
    ever = {name for masks in told.values() for mask in masks for name in names(mask)}
    seen = [name for name in REASONS.values() if name in ever] + sorted(ever - set(REASONS.values()))
    shares = {name: _greatest(told, {name}) for name in seen}
    harmful = [name for name in seen if name not in HARMLESS]
    card, whole = _greatest(told, set(harmful))
    if harmful:
        whole.note = "; ".join(_why(name, *shares[name], of=card) for name in harmful)
        whole.note = f"{_which(cards, card, 'most held back')}: {whole.note}" if len(cards) > 1 else whole.note
    elif len(cards) > 1:
        whole.note = f"on none of {len(cards)} GPUs, {_OF_SAMPLES}"
    for where, one in shares.values():
        one.note = f"{_which(cards, where, 'most held back')}, {one.note}" if len(cards) > 1 else one.note
    return {"gpu_throttled": whole, **{f"throttle_{name}": one for name, (_, one) in shares.items()}}


def _why(name: str, card: float, share: Figure, *, of: float) -> str:
    return f"{name} in {share.value} %" + (f" of GPU {card:.0f}'s" if card != of else "")


def _masks(rows: list[Sample]) -> dict[int, _Rows]:
    """Rows of each mask that was told."""
    found: dict[int, _Rows] = {}
    for value, line in known(rows, "throttle"):
        if (mask := whole_mask(value)) is not None:
            many, first, _ = found.get(mask, (0, line, line))
            found[mask] = _Rows(many + 1, first, line)
    return found


def _greatest(told: dict[float, dict[int, _Rows]], reasons: set[str]) -> tuple[float, Figure]:
    """The GPU with the greatest share (%) of samples with one of these reasons, and the share with its rows."""
    held = {card: [masks[one] for one in masks if reasons & set(names(one))] for card, masks in told.items()}
    counts = {card: sum(one.many for one in masks.values()) for card, masks in told.items()}
    shares = {card: sum(one.many for one in held[card]) / counts[card] for card in told}
    card = max(shares, key=lambda one: shares[one])
    rows = held[card] or list(told[card].values())
    place = _span(min(one.first for one in rows), max(one.last for one in rows))
    value = round(100 * shares[card], 1)
    return card, Figure(value=value, unit="%", n=counts[card], sources=[place], note=_OF_SAMPLES)


def _span(first: int, last: int) -> str:
    return f"{rundir.SAMPLES}:{first}" + (f"-{last}" if last > first else "")
