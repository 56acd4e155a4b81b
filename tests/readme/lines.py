"""Figures of one sentence: the golden run without a GPU, and how long provisioning the H100 took."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from labctl.report.amounts import finite, number, seconds
from labctl.report.text import DASH, line
from tests.readme import shown
from tests.readme.golden import GoldenError
from tests.readme.words import word

if TYPE_CHECKING:
    from pathlib import Path

    from tests.readme.golden import Goldens

# What `labctl provision` wrote of the first time and of the second, as rows of JSON.
PROVISION = "h100-provision"
TIMES = ("provision", "again")


def cpu(goldens: Goldens, language: str) -> str:
    """Throughput and cold start-up of the golden run cpu-offline. Raises GoldenError."""
    golden = goldens("cpu-offline", "cold")
    processor = golden.machine.get("cpu") or {}
    return word("cpu", language).format(
        cpu=line(processor.get("model") or DASH, 80),
        cores=number(processor.get("usable")) or DASH,
        vllm=golden.package("vllm"),
        torch=golden.package("torch"),
        date=golden.date,
        model=shown.model([golden], language),
        speed=shown.speed(golden, "throughput", language),
        startup=seconds(golden.amount("startup")) or DASH,
    )


def provision(goldens: Goldens, language: str) -> str:
    """How long provisioning took, by the last rows of h100-provision/ beside the folder of runs. Raises GoldenError."""
    first, second = (_end(goldens.folder.parent / PROVISION / f"{name}.jsonl") for name in TIMES)
    told = {
        f"{name}_{key}": shape(row[field])
        for name, row in (("first", first), ("second", second))
        for key, field, shape in (("s", "seconds", seconds), ("changed", "changed", number))
    }
    return word("provision", language).format(date=line(first["utc"][:10], 40), **told)


def _end(path: Path) -> dict[str, Any]:
    """The row that closes a provisioning: {"utc", "seconds", "changed", "failed"}. Raises GoldenError."""
    try:
        row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        whole = row["event"] == "end" and not row["failed"] and isinstance(row["utc"], str)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise GoldenError(f"{path} does not say how long provisioning the H100 took: {error!r}") from error
    if not whole or any(finite(row.get(key)) is None for key in ("seconds", "changed")):
        raise GoldenError(f"{path} does not end with a provisioning that succeeded")
    return row
