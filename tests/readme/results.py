"""What the models reach on the H100: one column a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from labctl.report.amounts import number, size
from labctl.report.sections.batches import SIZED
from labctl.report.text import DASH
from labctl.runner import events
from tests.readme import shown
from tests.readme.golden import GoldenError
from tests.readme.words import word

if TYPE_CHECKING:
    from tests.readme.golden import Golden, Goldens


class Column(NamedTuple):
    """The golden runs of one model: those of its start, and its benchmark."""

    starts: list[Golden]
    bench: Golden


def columns(goldens: Goldens) -> list[Column]:
    """The small and the large model. Raises GoldenError."""
    small = [goldens("h100-offline-cold", "cold"), *(goldens(f"h100-offline-warm-{n}", "warm") for n in (1, 2))]
    return [Column(small, goldens("h100-bench")), Column([goldens("h100-offline-7b")], goldens("h100-bench-7b"))]


def text(goldens: Goldens, language: str) -> str:
    """The table, below it where and how it was measured. Raises GoldenError."""
    found = columns(goldens)
    sizes = sorted({n for column in found for n in _sizes(column.bench)})
    rows = [
        [word("model", language), *(shown.model([*column.starts, column.bench], language) for column in found)],
        [word("cold", language), *(_cold(column.starts[0], language) for column in found)],
        [word("warm", language), *(_warm(column) for column in found)],
        *([word("batch", language).format(n), *(_batch(column.bench, n, language) for column in found)] for n in sizes),
        [word("held", language), *(_held_back(column.bench) for column in found)],
        [word("kv", language), *(_tokens(column.bench, language) for column in found)],
        [word("memory", language), *(size(column.bench.amount("peak_gpu_memory")) or DASH for column in found)],
    ]
    every = [golden for column in found for golden in (*column.starts, column.bench)]
    conditions = " ".join(shown.conditions(column.bench, language) for column in found)
    return f"{shown.table(rows)}\n\n{shown.where(every, language)}{_how(found, sizes, language)}\n\n{conditions}"


def _sizes(bench: Golden) -> list[int]:
    found = [int(hit[1]) for name in bench.figures if (hit := SIZED.fullmatch(name))]
    if not found:
        raise GoldenError(f"the golden run {bench.name} has no throughput of any batch size")
    return found


def _cold(golden: Golden, language: str) -> str:
    """A first start of the model; what other models had left in the caches is said beside it."""
    found = next(row for row in events.read(golden.run.path) if row["event"] == "compile_cache")
    kept = word("kept", language).format(found["before"], found["after"]) if found["before"] else ""
    startup = golden.amount("startup")
    return shown.median([] if startup is None else [startup]) + kept


def _warm(column: Column) -> str:
    """Starts again; where the model has none of its own, that of its benchmark, if its engine was asked for alike."""
    own = [golden for golden in column.starts if golden.state == "warm"]
    alike = column.bench.run.spec.engine == column.starts[0].run.spec.engine and column.bench.state == "warm"
    values = [golden.amount("startup") for golden in own or [column.bench] * alike]
    return shown.median([value for value in values if value is not None])


def _held_back(bench: Golden) -> str:
    share = number(bench.amount("gpu_throttled"))
    return f"{share} %" if share else DASH


def _batch(bench: Golden, n: int, language: str) -> str:
    share = bench.amount(f"bandwidth_utilisation_b{n}")
    beside = "" if share is None else word("bandwidth", language).format(number(share))
    return shown.speed(bench, f"throughput_b{n}", language) + beside


def _tokens(bench: Golden, language: str) -> str:
    tokens = number(bench.amount("kv_tokens"))
    return word("tokens", language).format(tokens) if tokens else DASH


def _how(found: list[Column], sizes: list[int], language: str) -> str:
    told = [column.bench.figures.get(f"throughput_b{n}", {}).get("n") for column in found for n in sizes]
    repeats = dict.fromkeys(n for n in told if n)
    ceilings = {number(round(value)) for column in found if (value := column.bench.amount("ceiling_bandwidth"))}
    n = " / ".join(map(str, repeats))
    return word("measured", language).format(n=n, ceiling=" / ".join(sorted(filter(None, ceilings))) or DASH)
