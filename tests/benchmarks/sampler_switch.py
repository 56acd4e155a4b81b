"""A run whose sampler is stopped and goes on, by signals, at the borders of its measured passes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.runner import clock, events, processes, rundir
from tests.benchmarks import sampler_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BATCH, REPEATS = 16, 24
# How often the run's events are looked for, in s: a pass takes a second or two, the border between two some ms.
_POLL = 0.005


class Asked(NamedTuple):
    """A run to start: the labctl program, the lab, measured passes, further words; where, and in which environment."""

    labctl: Path
    lab_dir: Path
    lab: str = "bench"
    repeats: int = REPEATS
    words: tuple[str, ...] = ()
    folder: Path | None = None
    env: Mapping[str, str] | None = None

    def command(self) -> list[str]:
        """Two warm-ups: in the first one the sampler asks nvidia-smi, once in a run, for seconds."""
        shape = {"repeats": self.repeats, "warmup": 2, "tutorial": "false"}
        workload = [word for name, value in shape.items() for word in ("--workload", f"{name}={value}")]
        return [str(self.labctl), "run", self.lab, "--batch-sizes", str(BATCH), *workload, *self.words]


class Sampler:
    """The sampler process of a run."""

    def __init__(self, run_dir: Path) -> None:
        """Find it by its command line. Raises SystemExit where there is none."""
        found = [int(entry.name) for entry in Path("/proc").iterdir() if _samples(entry, run_dir)]
        if len(found) != 1:
            raise SystemExit(f"{run_dir.name} has {len(found)} samplers, not one (--sample-hz 0?)")
        self._pid, self._ticks, self.on = found[0], processes.start_ticks(found[0]), True

    def turn(self, *, on: bool) -> None:
        """Let it go on, or stop it; one that has ended is left alone."""
        if self._ticks is not None and processes.start_ticks(self._pid) == self._ticks:
            os.kill(self._pid, signal.SIGCONT if on else signal.SIGSTOP)
        self.on = on


def _samples(process: Path, run_dir: Path) -> bool:
    """Whether a process (its folder in /proc) is ``python -m labctl.runner.sampler RUN_DIR ...`` of this run."""
    try:
        words = (process / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return False
    module = "labctl.runner.sampler"
    return (
        process.name.isdigit()
        and module in words
        and Path(words[words.index(module) + 1]).resolve() == run_dir.resolve()
    )


def measure(asked: Asked) -> tuple[Path, list[float | None]]:
    """Make the run and switch its sampler. Gives its directory on the host and the moment (s) of each pass's switch.

    None for a pass before which nothing was switched. Raises SystemExit where the run does not go well.
    """
    runs = asked.lab_dir / "runs"
    before = set(runs.iterdir()) if runs.is_dir() else set()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            asked.command(), stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=asked.folder, env=asked.env
        )
        try:
            run_dir = _appeared(runs, before, process)
            switches = _switch(run_dir, process, asked.repeats) if run_dir else []
            code = process.wait()
        except BaseException:
            process.terminate()  # the run needs no labctl, and ends by itself
            process.wait()
            raise
        said.seek(0)
        if run_dir is None or code:
            raise SystemExit(f"{said.read().decode(errors='replace')}\nlabctl run ended with exit status {code}")
    return run_dir, switches


def _appeared(runs: Path, before: set[Path], process: subprocess.Popen[bytes]) -> Path | None:
    """The directory of a run that was not there before, once it has events; None where labctl ends without one."""
    while True:
        ended = process.poll() is not None
        new = [path for path in set(runs.glob("*")) - before if (path / rundir.EVENTS).is_file()]
        if new or ended:
            return max(new, default=None)
        time.sleep(_POLL)


def _switch(run_dir: Path, process: subprocess.Popen[bytes], repeats: int) -> list[float | None]:
    """Follow a run, and switch its sampler at the end of each measured pass; it goes on at the end, come what may."""
    zero = float(json.loads((run_dir / rundir.RECORD).read_text(encoding="utf-8"))["anchor"]["monotonic"])
    sampler: Sampler | None = None
    switches: list[float | None] = [None]
    try:
        for row in _news(run_dir, process):
            if row.get("phase") == "warmup":
                sampler = sampler or Sampler(run_dir)
            elif sampler and row["event"] == "end" and row.get("phase") == "generate":
                wanted = sampler_pairs.sampled(len(switches)) or len(switches) >= repeats
                changed = wanted != sampler.on
                if changed:
                    sampler.turn(on=wanted)
                switches.append(clock.since(zero) if changed else None)
    finally:
        if sampler:
            sampler.turn(on=True)
    return switches


def _news(run_dir: Path, process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """Each event of a run as it comes, until the run is sealed or labctl fails."""
    rest = b""
    with (run_dir / rundir.EVENTS).open("rb") as handle:
        while True:
            over = (run_dir / rundir.SUMS).is_file() or bool(process.poll())
            data = handle.read()
            if over and not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from filter(None, (events.checked(line.decode(errors="replace")) for line in lines))
            time.sleep(0 if lines else _POLL)
