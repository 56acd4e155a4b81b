"""Runs that were recorded once: what stands in their records follows from their raw files, still."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labctl import runs
from labctl.runner import figures, phases

FOLDER = Path(__file__).parents[1] / "data" / "runs"
GOLDEN = sorted(path for path in FOLDER.iterdir() if path.is_dir())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_figures_and_phases_follow_from_the_raw_files(path: Path) -> None:
    told = runs.load(path).record
    assert json.loads(json.dumps(figures.compute(path))) == told.metrics
    assert json.loads(json.dumps(phases.timeline(path))) == told.phases


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_the_seal_holds(path: Path) -> None:
    assert runs.check_sums(path) == []


def test_the_kernel_compiled_during_the_warm_up_of_a_real_h100_is_seen() -> None:
    told = runs.load(FOLDER / "h100-offline-opt-125m-converted").record.metrics
    assert told["first_pass_throughput"]["value"] == pytest.approx(204, abs=1)
    assert told["throughput"]["value"] == pytest.approx(3146, abs=1)
    assert "_topk_topp_kernel" in told["tainted_passes"]["note"]
