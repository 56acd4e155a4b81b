"""The figures of a record as cards for the page. Formatting alone: no figure is computed here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labctl.report.amounts import finite, number, seconds, size
from labctl.report.text import DASH, clean, line

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

Metrics = dict[str, dict[str, Any]]
SHOWN_SOURCES = 4
OTHERS = 200  # figures that no card knows


@dataclass(frozen=True, slots=True)
class Source:
    """One raw place that a figure came from; ``anchor``: the artifact's row, or another page (``../…``), if any."""

    text: str
    anchor: str | None

    @property
    def href(self) -> str:
        """The link to it."""
        return self.anchor if self.anchor and self.anchor.startswith("../") else f"#{self.anchor}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure ready to show; ``known`` is false where a dash stands for the value."""

    label: str
    value: str
    unit: str
    spread: str
    note: str
    sources: tuple[Source, ...]
    more_sources: int
    known: bool


@dataclass(frozen=True, slots=True)
class Card:
    """A main figure and those that belong beside it."""

    title: str
    main: Figure
    beside: tuple[Figure, ...]


# Title, main metric, then the metrics beside it with their labels.
Wanted = tuple[str, str, tuple[tuple[str, str], ...]]
CARDS: tuple[Wanted, ...] = (
    ("Calls", "calls", (("of them not 200", "refused_calls"),)),
    ("Best throughput", "best_throughput", (("points flagged", "flagged_points"),)),
    ("Throughput", "throughput", (("first pass", "first_pass_throughput"), ("repeats left out", "tainted_passes"))),
    ("Start-up", "startup", (('of it vLLM\'s "init engine"', "engine_init"),)),
    ("KV cache", "kv_tokens", (("blocks", "kv_blocks"), ("\u00d7 block size", "kv_block_size"))),
    ("Maximum concurrency", "kv_max_concurrency", ()),
    ("Model load", "model_load_seconds", (("weights", "model_load_gib"),)),
    ("Time to first token", "ttft", ()),
    ("Latency of a request", "latency", ()),
    ("Output tokens", "output_tokens", (("prompt tokens", "prompt_tokens"),)),
    ("Peak memory", "peak_rss", (("GPU memory", "peak_gpu_memory"), ("sampled at", "sampler_rate"))),
    ("Compile cache", "compile_cache", (("torch.compile", "compile_seconds"),)),
)
# What only runs of some kinds have; one of another kind that lacks it lacks nothing.
_OF_SERVERS = {"Calls", "Best throughput"}
_OF_PROMPTS = {"Throughput", "Time to first token", "Latency of a request", "Output tokens"}
_IN_CARDS = {name for _, main, beside in CARDS for name in (main, *(metric for _, metric in beside))}


def cards(
    metrics: Metrics, anchors: Mapping[str, str], kind: str = "prompts", leads: Sequence[Wanted] = ()
) -> tuple[list[Card], list[str]]:
    """Make the cards (``leads`` first), and name the titles of those for which the record holds nothing at all."""
    shown, absent = [], []
    for title, main, beside in (*leads, *CARDS):
        if not _wanted(kind, title) and not _known(metrics, main):
            continue
        names = [main, *(metric for _, metric in beside)]
        if not any(name in metrics for name in names):
            absent.append(title)
            continue
        others = tuple(figure(label, metrics[name], anchors) for label, name in beside if _known(metrics, name))
        shown.append(Card(title, figure(title, metrics.get(main, {}), anchors), others))
    return shown, absent


def _wanted(kind: str, title: str) -> bool:
    """Whether a run of this kind ought to have that card; one of parameters starts no engine."""
    if kind == "prompts":
        return title not in _OF_SERVERS
    return kind != "parameters" and title not in _OF_PROMPTS | _OF_SERVERS


def _known(metrics: Metrics, name: str) -> bool:
    """Whether a figure beside a main one is worth its line: an unknown one says nothing there."""
    return name in metrics and metrics[name].get("value") is not None


def others(metrics: Metrics, anchors: Mapping[str, str], taken: Collection[str] = ()) -> list[Figure]:
    """List the figures that neither a card nor a section (``taken``) shows, in the order of the record."""
    names = [name for name in metrics if name not in _IN_CARDS and name not in taken]
    return [figure(line(name, 60), metrics[name], anchors) for name in names[:OTHERS]]


def figure(label: str, metric: dict[str, Any], anchors: Mapping[str, str]) -> Figure:
    """One figure of the record, whatever types its fields have."""
    unit = line(metric.get("unit"), 20)
    value, shown_unit = _value(metric.get("value"), unit)
    places = metric.get("sources")
    places = places if isinstance(places, list) else [] if places is None else [places]
    note = clean(metric.get("note"), 300)
    return Figure(
        label=label,
        value=value or DASH,
        unit=shown_unit if value else "",
        spread=_spread(metric, unit),
        note=note if value else note or "not recorded",
        sources=tuple(source(place, anchors) for place in places[:SHOWN_SOURCES]),
        more_sources=max(0, len(places) - SHOWN_SOURCES),
        known=bool(value),
    )


def source(place: object, anchors: Mapping[str, str]) -> Source:
    """``events.jsonl:12`` with the anchor of ``events.jsonl``."""
    path = re.sub(r":\d+(-\d+)?$", "", place[:1000]) if isinstance(place, str) else ""
    return Source(line(place, 120), anchors.get(path))


def _value(value: object, unit: str) -> tuple[str, str]:
    """Text and unit of a value; an empty text where it is unknown or no finite number."""
    formatted = {"s": seconds, "bytes": size}.get(unit, number)(value)
    if formatted is None:
        unknown = value is None or isinstance(value, (int, float))
        return ("" if unknown and not isinstance(value, bool) else line(value, 40)), ""
    if unit in {"s", "bytes"}:
        formatted, _, unit = formatted.partition(" ")
    return formatted, unit


def _spread(metric: dict[str, Any], unit: str) -> str:
    low, high, count = (metric.get(name) for name in ("low", "high", "n"))
    parts = []
    if low == high and finite(count) == 1:
        return ""
    if finite(low) is not None and finite(high) is not None:
        (first, first_unit), (last, last_unit) = _value(low, unit), _value(high, unit)
        start = first if first_unit == last_unit else f"{first} {first_unit}"
        parts.append(f"{start} \u2013 {last} {last_unit}".strip())
    # One value has no spread, and none has nothing to count: n says something from two on.
    if (counted := number(count)) is not None and (finite(count) or 0) > 1:
        parts.append(f"n = {counted}")
    return ", ".join(parts)
