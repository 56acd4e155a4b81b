"""``make bench``: what labctl costs, measured in interleaved pairs on this machine. Prints; asserts nothing.

Names on the command line choose: help runs overhead start sampler throughput ssh eight crowd ask stream
environment again fleet.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks import sampler_cost
from tests.benchmarks.environments import bench_again, bench_environment, bench_fleet
from tests.benchmarks.hosts import bench_crowd, bench_eight, bench_ssh
from tests.benchmarks.pairs import compare, ratio
from tests.benchmarks.sampler_switch import Asked
from tests.benchmarks.servers import bench_ask, bench_stream
from tests.benchmarks.throughput import bench_throughput
from tests.e2e.conftest import LABCTL, ROOT, Project, provisioned

FAB = LABCTL.with_name("fab")
EAGER = ("--engine", "enforce_eager=true", "--engine", "max_model_len=512")


def wall(*command: object, cwd: Path | None = None) -> float:
    """Seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, check=True, cwd=cwd)
    return time.perf_counter() - began


def bench_help() -> None:
    """`labctl --help` against `fab --help`."""
    print("labctl --help / fab --help:", compare(lambda: wall(LABCTL, "--help"), lambda: wall(FAB, "--help"), 15))


def bench_runs() -> None:
    """`labctl runs` over 200 runs against `labctl --help` and `fab --help`."""
    source = ROOT / "tests" / "data" / "runs" / "cpu-offline"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "inventory.ini").write_text("local ansible_connection=local\n")
        for number in range(200):
            shutil.copytree(source, place / "runs" / f"20261122T{number:06}Z-local-offline")
        for name, program in (("labctl", LABCTL), ("fab", FAB)):
            found = compare(lambda: wall(LABCTL, "runs", cwd=place), lambda p=program: wall(p, "--help"), 15)  # type: ignore[misc]
            print(f"labctl runs (200 runs) / {name} --help:", found)


def timed_run(project: Project, *words: str) -> tuple[float, dict[str, Any]]:
    """Wall seconds of a whole `labctl run`, and its record."""
    began = time.perf_counter()
    project("run", "offline", *words)
    return time.perf_counter() - began, project.record()


def bench_overhead() -> None:
    """Wall time of `labctl run` on local minus the runner's own, report included."""
    project = provisioned()
    added = []
    for _ in range(5):
        seconds, record = timed_run(project, *EAGER, "--sampling", "max_tokens=16")
        added.append(seconds - record["ended_s"])
    low, high = min(added), max(added)
    print(f"added by labctl: median {statistics.median(added):.2f} s, {low:.2f} to {high:.2f}, n = {len(added)}")


def figure(record: dict[str, Any], name: str) -> float:
    """One figure's value."""
    return float(record["metrics"][name]["value"])


def bench_start() -> None:
    """Start-up with a filled compile cache against an empty one."""
    project = provisioned()

    def cold() -> float:
        for name in ("vllm", "inductor", "triton"):
            shutil.rmtree(project.lab_dir / "cache" / name, ignore_errors=True)
        return start("cold")

    def start(expected: str) -> float:
        _, record = timed_run(project, "--sampling", "max_tokens=16", "--repeats", "1")
        found = record["metrics"]["compile_cache"]["value"]
        if found != expected:
            raise SystemExit(f"this start was {found}, not {expected}")
        return figure(record, "startup")

    rows = []
    for _ in range(3):
        b = cold()
        rows.append((start("warm"), b))
    print("warm start / cold start:", ratio(rows))


def bench_sampler() -> None:
    """Throughput with the sampler at 5 Hz against without, in one engine."""
    project = provisioned()
    words = (*EAGER, "--max-tokens", "32")
    sampler_cost.report(Asked(LABCTL, project.lab_dir, words=words, folder=project.folder, env=project.env))


ALL = {
    "help": bench_help,
    "runs": bench_runs,
    "overhead": bench_overhead,
    "start": bench_start,
    "sampler": bench_sampler,
    "throughput": bench_throughput,
    "ssh": bench_ssh,
    "eight": bench_eight,
    "crowd": bench_crowd,
    "ask": bench_ask,
    "stream": bench_stream,
    "environment": bench_environment,
    "again": bench_again,
    "fleet": bench_fleet,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or ALL:
        ALL[name]()
