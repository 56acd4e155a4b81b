"""The GPUs while the engine worked, and over the whole run: load, power, clocks, heat, what held the clocks back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from labctl.report.amounts import number
from labctl.report.blocks import Plot, Section, cell, table
from labctl.report.curves import DRAWN, gpus, spans
from labctl.report.draw import gpu as draw
from labctl.report.gpu_curves import held_back, panels
from labctl.report.text import line

if TYPE_CHECKING:
    from labctl.report.blocks import Block, Cell
    from labctl.report.shown import Shown

HEAD = ("", "median", "least", "greatest", "samples")
# Figure and what it is, with the unit of the record.
OVER_TIME = (
    ("gpu_power", "power of one GPU, W"),
    ("gpu_sm_clock", "SM clock, MHz"),
    ("gpu_mem_clock", "memory clock, MHz"),
    ("gpu_util", "busy (a kernel ran), %"),
    ("gpu_mem_util", "memory busy (read or written), %"),
)
HOTTEST = ("peak_gpu_temperature", "temperature, °C")
WHILE = ", while the engine worked"
EACH = "Each of the GPU that it names, while the engine worked."
ANY = "anything but idleness and clocks that somebody chose"
REASONS = 20
REASON = re.compile(r"throttle_([a-z0-9_]{1,60})")
PLOT = (
    "Drawn from samples.csv; the shades are the phases of the start-up and of the work. Busy is the share of the time "
    "in which any kernel ran, not how much of the card it filled."
)
STRIP = (
    "The strip below shows when NVML said that something held the clocks back (but for an idle GPU and clocks that "
    "somebody chose)."
)


def section(shown: Shown) -> Section | None:
    """The figures and the plot; None for a run without a GPU's samples."""
    samples = shown.run.samples
    blocks: list[Block] = []
    if rows := _over_time(shown):
        blocks.append(table(HEAD, rows, numeric=range(1, len(HEAD)), caption=_of_which(shown)))
    if rows := _reasons(shown):
        blocks.append(table(("clocks held back by", "of the samples"), rows, numeric=(1,)))
    held = held_back(samples)
    if drawn := draw.over_time(panels(samples), held, spans(shown.run.record.phases)):
        count = len(gpus(samples))
        fewer = f"The first {DRAWN} of {count} GPUs are drawn." if count > DRAWN else ""
        caption = " ".join(filter(None, (PLOT, STRIP if held else "", fewer)))
        blocks.append(Plot("gpu", drawn, "GPU load, power, clock and temperature over time", caption))
    return Section("gpu", "GPU over time", tuple(blocks)) if blocks else None


def _of_which(shown: Shown) -> str:
    """The GPU that the figures are of, as the record says; where it is not one, each row names its own."""
    notes = _notes(shown)
    return next(iter(notes.values())) if len(set(notes.values())) == 1 else EACH if notes else ""


def _notes(shown: Shown) -> dict[str, str]:
    """What the record says of each figure that is known."""
    told = {name: shown.figure(name) for name, _ in (*OVER_TIME, HOTTEST)}
    return {name: line(one.get("note"), 120) for name, one in told.items() if one.get("value") is not None}


def _over_time(shown: Shown) -> list[list[Cell]]:
    """Median, least and greatest of what the record has; with the GPU where the figures are of several."""
    notes, rows = _notes(shown), []
    several = len(set(notes.values())) > 1
    for name, label in (*OVER_TIME, HOTTEST):
        if told := shown.figure(name):
            ends = [_cell(shown, told, key) for key in ("value", "low", "high", "n")]
            if name == HOTTEST[0]:
                ends = [cell(None), cell(None), ends[0], ends[-1]]
            of = f" ({notes[name].removesuffix(WHILE)})" if several and name in notes else ""
            rows.append([cell(label + of), *ends])
    return rows


def _cell(shown: Shown, told: dict[str, Any], key: str) -> Cell:
    places = told.get("sources")
    place = places[0] if key != "n" and isinstance(places, list) and places else None
    return cell(number(told.get(key)), source=shown.source(place) if place is not None else None)


def _reasons(shown: Shown) -> list[list[Cell]]:
    """In how many of the samples something held the clocks back; then each reason that was ever set."""
    known = [("gpu_throttled", ANY)] if shown.figure("gpu_throttled") else []
    known += [(found[0], line(found[1].replace("_", " "), 60)) for found in shown.named(REASON)][:REASONS]
    several = len(set(_notes(shown).values())) > 1  # each share is of another GPU then, which its note names
    return [[cell(label), shown.cell(name, note=several)] for name, label in known]
