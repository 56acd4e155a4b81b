"""The sampler for real: by psutil, and by the real nvidia-ml-py over a library that stands in for a driver's."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labctl.runner import rundir, sampler

STAND_IN = Path(__file__).with_name("nvml_stand_in.c")


def sample(run_dir: Path, seconds: float, **env: str) -> list[dict[str, str]]:
    command = [sys.executable, "-I", "-m", "labctl.runner.sampler", str(run_dir)]
    words = [str(time.monotonic()), str(os.getpid()), "5.0"]
    with subprocess.Popen([*command, *words], env={**os.environ, **env}) as process:
        deadline = time.monotonic() + 20
        while not (run_dir / rundir.SAMPLES).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(seconds)
        process.terminate()
        assert process.wait(timeout=10) == 0
    with (run_dir / rundir.SAMPLES).open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_samples_of_a_process_tree(tmp_path: Path) -> None:
    (tmp_path / rundir.EVENTS).write_text(json.dumps({"t": 0.1, "event": "begin", "phase": "import"}) + "\n")
    rows = sample(tmp_path, 1.5)
    assert tuple(rows[0]) == sampler.COLUMNS
    assert {row["phase"] for row in rows} == {"import"}
    assert all(int(row["rss"]) > 10_000_000 for row in rows)
    assert all(row["gpu"] == "" for row in rows)
    times = [float(row["t"]) for row in rows]
    assert times == sorted(set(times))


def test_a_gpu_by_nvml(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler on this machine: test_a_gpu_by_nvml did not run")
    library = tmp_path / "lib" / "libnvidia-ml.so.1"
    library.parent.mkdir()
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(library), str(STAND_IN)], check=True)
    rows = sample(tmp_path, 0.8, LD_LIBRARY_PATH=str(library.parent))
    row = rows[-1]
    assert (row["gpu"], row["gpu_mem_used"], row["gpu_mem_total"]) == ("0", "79485206528", "85520809984")
    assert (row["gpu_util"], row["gpu_mem_util"], row["temp_c"], row["throttle"]) == ("97", "41", "36", "4")
    assert (row["sm_clock_mhz"], row["mem_clock_mhz"]) == ("1980", "2619")
    assert row["power_w"] == "", "what NVML refuses is unknown, not zero"
