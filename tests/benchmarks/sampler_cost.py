"""What the sampler costs a lab of batch sizes: passes of one engine with it and, stopped by a signal, without it.

``python -m tests.benchmarks.sampler_cost --json FILE -- --max-tokens 256``, in the project directory, with a host
``local`` that is provisioned; what stands behind ``--`` goes to ``labctl run``. Needs nothing that labctl itself
does not need. Two engines of the same kind differ by more than a sampler costs: so it is one engine, and SIGSTOP and
SIGCONT between its passes. What labctl itself does meanwhile (it mirrors the run's files) is there in both.
"""

from __future__ import annotations

import argparse
import csv
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl import inventory
from labctl.runner import enginelog, events, rundir, spec
from labctl.runner.figures import passes
from tests.benchmarks import sampler_pairs
from tests.benchmarks.pairs import Ratio, ratio
from tests.benchmarks.sampler_switch import BATCH, REPEATS, Asked, measure

if TYPE_CHECKING:
    from collections.abc import Sequence


def cost(run_dir: Path, switches: list[float | None]) -> tuple[Ratio, list[str]]:
    """Throughput with / without, and what was left out.

    Raises SystemExit where the samples contradict the switching, or where nothing is left.
    """
    told = enginelog.facts(run_dir)
    rows = [row for row in passes.passes(events.read(run_dir)) if row["phase"] == "generate"]
    made = [
        sampler_pairs.Pass(
            row["began"], row["t"], passes.rate(row), sampler_pairs.sampled(number), switched, passes.taint(row, told)
        )
        for number, (row, switched) in enumerate(zip(rows, switches, strict=False))
    ]
    hz = spec.from_json((run_dir / rundir.SPEC).read_text(encoding="utf-8")).sample_hz
    with (run_dir / rundir.SAMPLES).open(encoding="utf-8") as handle:
        samples = sorted({float(row["t"]) for row in csv.DictReader(handle)})
    if found := sampler_pairs.faults(made, samples, hz):
        raise SystemExit("\n".join(["the sampler was not stopped and continued as planned:", *found]))
    measured, left_out = sampler_pairs.pairs(made), sampler_pairs.dropped(made)
    if not measured:
        raise SystemExit("\n".join(["no pair of passes is left:", *left_out]))
    return ratio(measured), left_out


def report(asked: Asked) -> dict[str, Any]:
    """Measure, print one line, and give it as a dict: rates in tokens/s, the run, what was left out."""
    run_dir, switches = measure(asked)
    found, left_out = cost(run_dir, switches)
    interval = f"{found.median:.4f} [{found.low:.4f}, {found.high:.4f}]"
    rates = f"{found.a:.5g} against {found.b:.5g} tok/s at batch {BATCH}, {found.pairs} pairs"
    print(f"throughput with sampler / without, one engine: {interval} ({rates}; left out: {left_out or 'none'})")
    figures = {"median": found.median, "low": found.low, "high": found.high, "pairs": found.pairs}
    return {**figures, "with": found.a, "without": found.b, "run": run_dir.name, "left_out": left_out}


def asked_for(words: Sequence[str]) -> tuple[Asked, Path | None]:
    """The run that a command line asks for, and where its figures go."""
    own, more = list(words), []
    if "--" in own:
        own, more = own[: own.index("--")], own[own.index("--") + 1 :]
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.sampler_cost", epilog="What stands behind -- goes to labctl run."
    )
    parser.add_argument("--labctl", type=Path, default=Path(sys.executable).with_name("labctl"))
    parser.add_argument("--lab-dir", type=Path, help="of the host local (default: as the inventory says)")
    parser.add_argument("--lab", default="bench", help="a lab of batch sizes")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="measured passes, two a pair")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    told = parser.parse_args(own)
    lab_dir = told.lab_dir or Path(inventory.resolve("local").lab_dir)
    return Asked(told.labctl, lab_dir, told.lab, told.repeats, tuple(more)), told.json


def main() -> None:
    """The command line."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # the sampler must run again, whatever ends this
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    asked, file = asked_for(sys.argv[1:])
    figures = report(asked)
    if file:
        file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
