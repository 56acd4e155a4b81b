"""What was measured of a machine before is used again; and a machine that cannot be measured costs no run.

This environment has no torch: a test gives it the metadata of one, as far as a lab asks for it. What torch measures is
in tests/e2e/test_bench.py.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import ceilings, events, rundir, spec

if TYPE_CHECKING:
    from pathlib import Path

HELD: dict[str, Any] = {
    "device": "a CPU", "kind": "cpu", "measured_utc": "2026-11-23T03:00:00.000+00:00",
    "bandwidth": {"bytes_per_s": [1e10]}, "matmul": {"flop_per_s": [1e11]},
}  # fmt: skip


def asked(**engine: Any) -> spec.RunSpec:
    return spec.from_dict({"lab": "bench", "model": "m", "workload": {"kind": "batches"}, "engine": engine})


@pytest.fixture
def lab_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CPU lab with the metadata of torch 9.9."""
    site = tmp_path / "site" / "torch-9.9.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(str(site.parent))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    folder = tmp_path / "lab"
    (folder / "runs").mkdir(parents=True)
    (folder / "lab.json").write_text('{"variant": "cpu"}')
    return folder


def ended(lab_dir: Path, name: str, of: spec.RunSpec) -> tuple[dict[str, Any], Path]:
    """What the end of the phase told, and the file of the run."""
    run_dir = lab_dir / "runs" / name
    run_dir.mkdir()
    with events.Events(run_dir, time.monotonic()) as told:
        ceilings.of_machine(run_dir, of, told)
    return events.read(run_dir)[-1], run_dir / rundir.CEILINGS


def remember(lab_dir: Path, of: spec.RunSpec) -> str:
    key = ceilings._key(of, lab_dir)
    ceilings._remember(lab_dir, key, HELD)
    return key


def test_a_run_does_not_tell_the_uuid_of_its_card(lab_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = "NVIDIA H100, GPU-9b28889d-814d-af55-233b-e48729b142e3, 700.00 W"
    monkeypatch.setattr(ceilings, "_key", lambda *_: card)
    remember(lab_dir, asked())
    _, path = ended(lab_dir, "masked", asked())
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["reused"], "the lab itself tells cards apart"
    assert told["key"] == "NVIDIA H100, GPU-9b28[masked], 700.00 W"


def test_a_machine_that_was_measured_is_not_measured_again(lab_dir: Path) -> None:
    key = remember(lab_dir, asked())
    assert "torch 9.9" in key
    told, path = ended(lab_dir, "r1", asked())
    assert (told["phase"], told["reused"]) == ("ceilings", True)
    assert json.loads(path.read_text()) == {**HELD, "key": key, "reused": True}


@pytest.mark.parametrize(
    ("engine", "threads", "same"),
    [
        ({}, None, True),
        ({"dtype": "auto"}, None, True),
        ({"dtype": "half"}, None, False),
        ({"dtype": "float32"}, None, False),
        ({}, "1", False),
    ],
)
def test_another_type_or_number_of_threads_is_another_machine(
    lab_dir: Path, monkeypatch: pytest.MonkeyPatch, engine: dict[str, Any], threads: str | None, *, same: bool
) -> None:
    key = ceilings._key(asked(), lab_dir)
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert (ceilings._key(asked(**engine), lab_dir) == key) is same


def test_a_process_that_cannot_measure_costs_no_run(lab_dir: Path) -> None:
    told, path = ended(lab_dir, "r1", asked())
    assert "CalledProcessError" in told["error"]
    assert not path.exists()
    assert not (lab_dir / ceilings.NAME).exists(), "a failure is not remembered"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 3}', "null"])
def test_a_broken_memory_is_no_memory(lab_dir: Path, text: str) -> None:
    (lab_dir / ceilings.NAME).write_text(text)
    assert ceilings._known(lab_dir) == {}
    key = remember(lab_dir, asked())
    assert ceilings._known(lab_dir) == {key: HELD}


def test_what_a_busy_cpu_did_is_measured_again_and_the_best_holds(
    lab_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ceilings._key(asked(), lab_dir)
    ceilings._remember(lab_dir, key, {**HELD, "busy": True})
    now = {**HELD, "measured_utc": "later", "bandwidth": {"bytes_per_s": [2e10]}, "matmul": {"flop_per_s": [9e10]}}
    # The measurement itself needs torch: here it is what is decided afterwards that counts.
    monkeypatch.setattr(ceilings, "_measure", lambda _dtype: dict(now))
    told, path = ended(lab_dir, "r1", asked())
    assert told["reused"] is False
    found = json.loads(path.read_text())
    assert found["bandwidth"]["bytes_per_s"] == [2e10]
    assert found["matmul"] == {"flop_per_s": [1e11], "measured_utc": HELD["measured_utc"]}
    assert ended(lab_dir, "r2", asked())[0]["reused"] is True
