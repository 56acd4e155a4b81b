"""Runs that were recorded once: what stands in their records follows from their raw files, still."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labctl import runs, verification
from labctl.runner import rundir

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parents[1] / "data" / "runs"
GOLDEN = sorted(path for path in FOLDER.iterdir() if path.is_dir())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_golden_runs_verify(path: Path) -> None:
    assert verification.problems(runs.load(path)) == []


def test_the_kernel_compiled_during_the_warm_up_of_a_real_h100_is_seen() -> None:
    told = runs.load(FOLDER / "h100-offline-opt-125m-converted").record.metrics
    assert told["first_pass_throughput"]["value"] == pytest.approx(204, abs=1)
    assert told["throughput"]["value"] == pytest.approx(3146, abs=1)
    assert "_topk_topp_kernel" in told["tainted_passes"]["note"]


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def better(text: str) -> str:
    record = json.loads(text)
    record["metrics"]["throughput"]["value"] *= 2
    return json.dumps(record)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (rundir.RECORD, better, "figure throughput does not follow"),
        (rundir.EVENTS, lambda text: text.replace('"seconds": ', '"seconds": 1'), "figure throughput does not follow"),
        (rundir.SPEC, lambda text: text.replace('"seed": 0', '"seed": 1'), "made for another spec.json"),
        (
            rundir.ENGINE_LOG,
            lambda text: text.replace("KV cache size: ", "KV cache size: 9"),
            "not those of the manifest",
        ),
    ],
)
def test_a_change_that_was_sealed_anew_is_seen(
    tmp_path: Path, name: str, change: Callable[[str], str], said: str
) -> None:
    path = tmp_path / "run"
    shutil.copytree(FOLDER / "cpu-offline", path)
    edit(path / name, change)
    rundir.seal(path)
    assert any(said in problem for problem in verification.problems(runs.load(path)))
