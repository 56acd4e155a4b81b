"""How a figure of a golden run reads in a README: the formatters of the report, and the words of its language."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from labctl.report import cards
from labctl.report.amounts import finite, number
from labctl.report.text import DASH, line
from labctl.runner.figures import spread
from tests.readme.golden import agreed
from tests.readme.words import word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.readme.golden import Golden


def speed(golden: Golden, name: str, language: str) -> str:
    """A throughput (tok/s): its median, and greatest less least in % of it."""
    figure = golden.figures.get(name, {})
    middle, low, high = (finite(figure.get(key)) for key in ("value", "low", "high"))
    if not middle or low is None or high is None:
        return DASH
    return word("throughput", language).format(number(middle), number(100 * (high - low) / middle))


def median(values: list[float]) -> str:
    """Seconds of one start, or the median of several with their least and greatest."""
    if not values:
        return DASH
    one = cards.figure("", asdict(spread(values, "s", [])), {})
    return f"{one.value} {one.unit}" + (f" ({one.spread})" if one.spread else "")


def model(goldens: Sequence[Golden], language: str) -> str:
    """The name of the model that all of them ran, with a label where its weights are random. Raises GoldenError."""
    name = agreed(goldens, "the model", [golden.asked_model for golden in goldens])
    kinds = [word("synthetic", language) if golden.model.get("synthetic") else "" for golden in goldens]
    kind = agreed(goldens, "the weights", kinds)
    return word("kind", language).format(name, kind) if kind else name


def where(goldens: Sequence[Golden], language: str) -> str:
    """The sentence of GPU, driver, versions and days. Raises GoldenError where GPU or versions differ."""
    return word("where", language).format(
        gpu=agreed(goldens, "the GPU", [golden.gpu("name") for golden in goldens]),
        driver=" / ".join(sorted({golden.gpu("driver_version") for golden in goldens})),
        vllm=agreed(goldens, "vLLM", [golden.package("vllm") for golden in goldens]),
        torch=agreed(goldens, "torch", [golden.package("torch") for golden in goldens]),
        date=" / ".join(sorted({golden.date for golden in goldens})),
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; its first row is the head, its further columns are numbers."""
    head, *rest = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join((head, f"|---|{'--:|' * (len(rows[0]) - 1)}", *rest))


def conditions(golden: Golden, language: str) -> str:
    """Under which conditions a benchmark measured: lengths, sampling, engine, weights, vLLM's own settings, CPU."""
    asked, cpu = golden.run.spec, golden.machine.get("cpu") or {}
    settings = golden.machine.get("environment") or {}
    sampling = {key: value for key, value in asked.sampling.items() if key != "max_tokens"}
    used = (golden.run.record.engine or {}).get("used") or {}
    left = {"model", "seed", "disable_log_stats", "load_format"}
    return word("conditions", language).format(
        model=line(golden.asked_model, 80),
        prompt=_each(golden, "prompt_tokens"),
        tokens=_each(golden, "output_tokens"),
        sampling=_pairs(sampling) or DASH,
        engine=_pairs({key: value for key, value in used.items() if key not in left}) or word("defaults", language),
        weights=word(str(golden.model.get("weights")), language),
        settings=_pairs({key: value for key, value in settings.items() if key.startswith("VLLM_USE_")}) or DASH,
        cores=number(cpu.get("usable")) or DASH,
        cpu=line(cpu.get("model") or DASH, 80),
    )


def _each(golden: Golden, name: str) -> str:
    """Tokens of each request, where all have as many; else the mean."""
    figure = golden.figures[name]
    return (number(figure["value"] / figure["n"]) if figure["n"] else None) or DASH


def _pairs(table: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(table.items()))
