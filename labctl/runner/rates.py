"""Measures what this machine can do at most: memory bandwidth and matrix rate. A short process of its own.

``python -m labctl.runner.rates DTYPE OUT.json``: nothing of it (CUDA context, memory, threads) stays once it has ended.
It uses the device that an engine here would use first: CUDA's device 0, else the CPU with as many threads as torch
takes by itself (vLLM's CPU worker keeps a core for other work: that is part of its distance). A copy counts the bytes
that it reads and those that it writes, as STREAM's Copy does (McCalpin, "Memory Bandwidth and Machine Balance in
Current High Performance Computers", 1995); a matrix product of n x n counts 2n^3.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.runner import clock, probe, processes, rundir

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATS, MOST = 7, 20
_AGREE = 1.05  # the third best takes at most so many times the best: what the machine can do was seen, not chance
_FREE = 0.75  # a CPU that gave less of its cores' time was busy with other work
_GIB = 1024**3
_MIB = 1024**2
# Far above any cache (an H100's L2 has 50 MB, a server CPU's L3 up to 1 GiB), and small against the memory.
_CPU_CACHES = 8
_AIM_S = {"cuda": 0.02, "cpu": 0.15}  # how long one repeat should take
_LARGEST = {"cuda": 8192, "cpu": 4096}  # n of the matrix product: more gains nothing
_LONG_S = 0.2  # the next size takes eight times as long; none is tried that would take longer


def main() -> int:
    """Measure and write ``OUT.json``: the file bench/ceilings.json without what its reader adds."""
    processes.die_with_parent()
    dtype, out = sys.argv[1], Path(sys.argv[2])
    device = Device()
    found = {
        "device": device.name(),
        "kind": device.kind,
        "torch": device.torch.__version__,
        "measured_utc": clock.anchor()["utc"],
        "bandwidth": bandwidth(device),
        "matmul": matmul(device, dtype),
    }
    share = device.share()
    rest = {"threads": device.threads, "cpu_share": share, "busy": share is not None and share < _FREE}
    rundir.write_atomic(out, (json.dumps({**found, **rest}, indent=1) + "\n").encode())
    return 0


class Device:
    """The device that is measured, and its clock."""

    def __init__(self) -> None:
        """Find it; this starts CUDA where there is a GPU."""
        import torch

        self.torch = torch
        self.kind = "cuda" if torch.cuda.is_available() else "cpu"
        self.threads = torch.get_num_threads() if self.kind == "cpu" else None
        self._wall = self._cpu = 0.0

    def name(self) -> str | None:
        """As its maker calls it."""
        return str(self.torch.cuda.get_device_name()) if self.kind == "cuda" else probe.cpu()["model"]

    def who(self) -> str:
        """For the sentence that says how something was measured."""
        return "GPU" if self.kind == "cuda" else f"CPU ({self.threads} threads)"

    def number(self, wished: str) -> str:
        """The number type to multiply in: float16 for bfloat16 on a GPU without units for it, as vLLM chooses there."""
        if self.kind == "cpu" or wished != "bfloat16":
            return wished
        return wished if self.torch.cuda.is_bf16_supported(including_emulation=False) else "float16"

    def share(self) -> float | None:
        """How much of its threads' time a CPU gave to the measurements, 0 to 1; None for a GPU."""
        return round(self._cpu / (self._wall * self.threads), 3) if self.threads and self._wall else None

    def timed(self, work: Callable[[], Any], times: int) -> float:
        """Seconds of so many ``work`` in a row."""
        if self.kind == "cpu":
            began, spent = time.perf_counter(), time.process_time()
            for _ in range(times):
                work()
            seconds = time.perf_counter() - began
            self._wall, self._cpu = self._wall + seconds, self._cpu + time.process_time() - spent
            return seconds
        # Events are stamped on the device: launching and waiting cost nothing of it.
        first, last = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        for _ in range(times):
            work()
        last.record()
        self.torch.cuda.synchronize()
        return float(first.elapsed_time(last)) / 1000

    def repeat(self, work: Callable[[], Any]) -> list[float]:
        """Seconds of one ``work`` in each of REPEATS groups, after a warm-up; a group lasts long enough to be timed.

        On a restless machine more of them (MOST at most), until the best three agree.
        """
        once = self.timed(work, 2) / 2
        times = max(1, min(100, int(_AIM_S[self.kind] / max(once, 1e-6))))
        found: list[float] = []
        while len(found) < REPEATS or (len(found) < MOST and sorted(found)[2] > _AGREE * min(found)):
            found.append(self.timed(work, times) / times)
        return found


def bandwidth(device: Device) -> dict[str, Any]:
    """Bytes per second, read and written, of copies between two buffers on the device."""
    size = _buffer(device)
    source = device.torch.ones(size // 4, dtype=device.torch.float32, device=device.kind)
    target = device.torch.empty_like(source)
    times = device.repeat(lambda: target.copy_(source))
    how = f"{device.who()} copy of {size // _MIB} MiB, bytes read and written counted"
    return {"bytes_per_s": [round(2 * size / seconds) for seconds in times], "how": how}


def _buffer(device: Device) -> int:
    """Bytes of one buffer: above the caches, and two of them a quarter of the free memory at most."""
    if device.kind == "cuda":
        return int(min(_GIB, device.torch.cuda.mem_get_info()[0] // 8) // _MIB * _MIB)
    free = 8 * _GIB
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))
    return int(min(max(256 * _MIB, _CPU_CACHES * _last_cache()), _GIB, free // 8) // _MIB * _MIB)


def _last_cache() -> int:
    """Bytes of the largest cache that the kernel tells of; 0 where it tells none."""
    sizes = [0]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with contextlib.suppress(OSError, ValueError):
            text = path.read_text(encoding="ascii").strip()
            sizes.append(int(text.rstrip("KM")) * {"K": 1024, "M": _MIB}.get(text[-1:], 1))
    return max(sizes)


def matmul(device: Device, dtype: str) -> dict[str, Any]:
    """Floating-point operations per second of a square matrix product in ``dtype``, on random numbers.

    Random, for a GPU that multiplies zeros draws less power and clocks higher (12 % on an H200).
    """
    dtype = device.number(dtype)
    kind, size = getattr(device.torch, dtype), 256
    while True:
        left, right = (device.torch.randn(size, size, device=device.kind).to(kind) for _ in range(2))
        product = functools.partial(device.torch.matmul, left, right)
        product()
        if size >= _LARGEST[device.kind] or 8 * min(device.timed(product, 1) for _ in range(3)) > _LONG_S:
            break
        size *= 2
    times = device.repeat(product)
    how = f"{device.who()} {dtype} product of {size} x {size} random matrices"
    return {"flop_per_s": [round(2 * size**3 / one) for one in times], "dtype": dtype, "n": size, "how": how}


if __name__ == "__main__":
    sys.exit(main())
