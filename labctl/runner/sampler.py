"""Samples the machine while a run goes on: samples.csv, a row a sample and GPU, by NVML or psutil."""

from __future__ import annotations

import contextlib
import csv
import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.runner import clock, machine, processes, rundir
from labctl.runner.at_work import AT_WORK

if TYPE_CHECKING:
    from collections.abc import Callable

# bytes, bytes, bytes, %, %, W, MHz, MHz, Celsius, NVML's bit mask, bytes, % of one core, bytes
COLUMNS = (
    "t", "phase", "gpu", "gpu_mem_used", "gpu_mem_total", "gpu_util", "gpu_mem_util", "power_w", "sm_clock_mhz",
    "mem_clock_mhz", "temp_c", "throttle", "rss", "cpu", "mem_available",
)  # fmt: skip
# Walking all of /proc costs more than a sample; the set of processes changes rarely.
_TREE_EVERY = 2.0


class Gpus:
    """Every GPU that NVML shows; none where there is no NVML. A fact that NVML refuses is None."""

    def __init__(self) -> None:
        """Start NVML if it can be had."""
        self.handles: list[Any] = []
        try:
            import pynvml
        except ImportError:
            return
        self._nvml = pynvml
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            self.handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]

    def sample(self) -> list[dict[str, Any]]:
        """One dict a GPU with the columns of samples.csv."""
        return [{"gpu": number, **self._one(handle)} for number, handle in enumerate(self.handles)]

    def _one(self, handle: Any) -> dict[str, Any]:
        nvml = self._nvml
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        busy = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        power = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
        # Renamed in NVML 12.x (nvml.h: "ClocksThrottleReasons" became "ClocksEventReasons").
        names = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
        reasons = next((getattr(nvml, name) for name in names if hasattr(nvml, name)), None)
        return {
            "gpu_mem_used": getattr(memory, "used", None),
            "gpu_mem_total": getattr(memory, "total", None),
            "gpu_util": getattr(busy, "gpu", None),
            "gpu_mem_util": getattr(busy, "memory", None),
            "power_w": None if power is None else power / 1000,
            "sm_clock_mhz": self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
            "mem_clock_mhz": self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
            "temp_c": self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            "throttle": self._ask(reasons, handle) if reasons else None,
        }

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._nvml.NVMLError:
            return None


class Tree:
    """Memory and CPU of the worker and everything below it, by psutil."""

    def __init__(self, pid: int) -> None:
        """``pid``: the worker. Without psutil every fact is None."""
        self._root: Any = None
        self._members: dict[int, Any] = {}
        self._listed = self._then = 0.0
        self._cpu: dict[int, float] = {}
        with contextlib.suppress(ImportError):
            import psutil

            self._psutil = psutil
            with contextlib.suppress(psutil.Error):
                self._root = psutil.Process(pid)

    def sample(self) -> dict[str, Any]:
        """``rss`` in bytes (shared pages counted in each process), ``cpu`` in % of one core, ``mem_available``."""
        if self._root is None:
            return {"rss": None, "cpu": None, "mem_available": None}
        now = time.monotonic()
        if now - self._listed > _TREE_EVERY:
            with contextlib.suppress(self._psutil.Error):
                self._members = {one.pid: one for one in (self._root, *self._root.children(recursive=True))}
            self._listed = now
        rss, cpu = 0, {}
        for pid, process in self._members.items():
            with contextlib.suppress(self._psutil.Error):
                with process.oneshot():
                    rss += process.memory_info().rss
                    times = process.cpu_times()
                cpu[pid] = times.user + times.system
        # Only processes that were there before: a new one brings all its past seconds at once.
        spent = sum(seconds - self._cpu[pid] for pid, seconds in cpu.items() if pid in self._cpu)
        share = round(100 * spent / (now - self._then), 1) if self._then else None
        self._cpu, self._then = cpu, now
        return {"rss": rss, "cpu": share, "mem_available": self._psutil.virtual_memory().available}


class Phase:
    """The phase that the worker is in, from the growing events.jsonl."""

    def __init__(self, run_dir: Path) -> None:
        """Follow the events of ``run_dir``."""
        self._path = run_dir / rundir.EVENTS
        self._offset = 0
        self._stack: list[str] = []

    def now(self) -> str:
        """Name of the innermost open phase, or an empty string."""
        with contextlib.suppress(OSError), self._path.open("rb") as handle:
            handle.seek(self._offset)
            for line in handle:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._take(line)
        return self._stack[-1] if self._stack else ""

    def _take(self, line: bytes) -> None:
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if row.get("event") == "begin":
                self._stack.append(str(row.get("phase")))
            elif row.get("event") == "end" and self._stack:
                self._stack.pop()


def main() -> int:
    """``sampler RUN_DIR ZERO WORKER_PID HZ``: sample until SIGTERM."""
    processes.die_with_parent()
    run_dir, zero, worker, hz = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    gpus, tree, phase = Gpus(), Tree(worker), Phase(run_dir)
    shown = False
    with (run_dir / rundir.SAMPLES).open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        due = time.monotonic()
        while True:
            current = phase.now()
            row = {"t": clock.since(zero), "phase": current, **tree.sample()}
            writer.writerows({**row, **gpu} for gpu in gpus.sample() or [{}])
            handle.flush()
            if current in AT_WORK and not shown:
                shown = True
                machine.nvidia_smi(run_dir, "during")
            due = max(due + 1 / hz, time.monotonic())
            time.sleep(due - time.monotonic() if due > time.monotonic() else 0)


if __name__ == "__main__":
    sys.exit(main())
