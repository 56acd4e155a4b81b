"""What the models reach on the H100: one column a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from labctl.report.amounts import number, size
from labctl.report.sections.batches import SIZED
from labctl.report.text import DASH
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
        *([word(state, language), *(_start(column, state) for column in found)] for state in ("cold", "warm")),
        *([word("batch", language).format(n), *(_batch(column.bench, n, language) for column in found)] for n in sizes),
        [word("kv", language), *(_tokens(column.bench, language) for column in found)],
        [word("memory", language), *(size(column.bench.amount("peak_gpu_memory")) or DASH for column in found)],
    ]
    every = [golden for column in found for golden in (*column.starts, column.bench)]
    return f"{shown.table(rows)}\n\n{shown.where(every, language)}{_how(found, sizes, language)}"


def _sizes(bench: Golden) -> list[int]:
    found = [int(hit[1]) for name in bench.figures if (hit := SIZED.fullmatch(name))]
    if not found:
        raise GoldenError(f"the golden run {bench.name} has no throughput of any batch size")
    return found


def _start(column: Column, state: str) -> str:
    """Start-ups of that state; a benchmark's warm one counts too where its engine was asked for alike."""
    alike = column.bench.run.spec.engine == column.starts[0].run.spec.engine
    # A benchmark that compiled something still found what the runs before it had compiled: no cold start.
    also = [column.bench] if alike and column.bench.state == "warm" else []
    values = [golden.amount("startup") for golden in (*column.starts, *also) if golden.state == state]
    return shown.median([value for value in values if value is not None])


def _batch(bench: Golden, n: int, language: str) -> str:
    share = bench.amount(f"bandwidth_utilisation_b{n}")
    beside = "" if share is None else word("bandwidth", language).format(number(share))
    return shown.speed(bench, f"throughput_b{n}", language) + beside


def _tokens(bench: Golden, language: str) -> str:
    tokens = number(bench.amount("kv_tokens"))
    return word("tokens", language).format(tokens) if tokens else DASH


def _how(found: list[Column], sizes: list[int], language: str) -> str:
    repeats = {int(column.bench.figures.get(f"throughput_b{n}", {}).get("n") or 0) for column in found for n in sizes}
    ceilings = {number(round(value)) for column in found if (value := column.bench.amount("ceiling_bandwidth"))}
    n = " / ".join(map(str, sorted(repeats - {0})))
    return word("measured", language).format(n=n, ceiling=" / ".join(sorted(filter(None, ceilings))) or DASH)
