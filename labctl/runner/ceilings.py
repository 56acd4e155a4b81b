"""The machine's limits, measured once per host and version and kept in the lab directory: memory and matrix rate.

``ceilings.json`` there holds one entry a key; remove the file to have them measured again.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.runner import engine_args, locks, probe, rundir
from labctl.runner.figures import machine
from labctl.runner.redact import unnamed

if TYPE_CHECKING:
    from labctl.runner.events import Events
    from labctl.runner.spec import RunSpec

NAME = "ceilings.json"
# Changes when rates.py measures otherwise: what was measured before is then no longer the same thing.
_METHOD = 2
# Import and measurements take five seconds; a machine that needs two minutes has no ceiling worth waiting for.
_PATIENCE_S = 120.0
_DTYPES = {"half": "float16", "float16": "float16", "float": "float32", "float32": "float32"}


def of_machine(run_dir: Path, asked: RunSpec, events: Events) -> None:
    """Write bench/ceilings.json of the run, from the lab's own where this machine was measured before.

    To be called before an engine takes the memory: the child that measures is gone when this returns. Whatever fails
    is told in the event ``ceilings`` and never ends the run: the figures that need it are unknown then.
    """
    lab_dir = run_dir.parent.parent
    with events.during("ceilings") as told:
        try:
            key = _key(asked, lab_dir)
            found, reused = _entry(lab_dir, key, dtype_of(asked), _devices(lab_dir)[0])
            path = run_dir / rundir.CEILINGS
            path.parent.mkdir(exist_ok=True)
            # The lab keeps apart two cards of a kind by their UUIDs; a run is shown to others, who need not know them.
            kept = {**found, "key": unnamed(key), "reused": reused}
            rundir.write_atomic(path, (json.dumps(kept, indent=1) + "\n").encode())
            told["reused"] = reused
        except Exception as error:  # noqa: BLE001 - a limit that cannot be measured must not cost the run
            told["error"] = f"{type(error).__name__}: {str(error)[:500]}"


def _entry(lab_dir: Path, key: str, dtype: str, device: str) -> tuple[dict[str, Any], bool]:
    """What was measured before and True, else what is measured now and False.

    A device that was busy with other work is measured again by each run that needs it, and the best holds.
    """
    before = _known(lab_dir).get(key, {})
    if before and not before.get("busy"):
        return before, True
    others = device != "cpu" and others_on(device)
    found = _measure(dtype)
    found["busy"] = bool(found.get("busy")) or others
    for place in (machine.BANDWIDTH, machine.MATMUL):
        was, now = (max(machine.repeats(entry, place), default=0.0) for entry in (before, found))
        if was > now:
            found[place[0]] = {"measured_utc": before.get("measured_utc"), **before[place[0]]}
    _remember(lab_dir, key, found)
    return found, False


def dtype_of(asked: RunSpec) -> str:
    """Number type of the matrix product: the one asked for, else bfloat16.

    vLLM's "auto" is always a type of 16 bits (float32 checkpoints are cast), and both of these have the same rate on
    every GPU with matrix units for both; one without bfloat16 is measured in float16 (rates.py).
    """
    return _DTYPES.get(str(asked.engine.get("dtype")), "bfloat16")


def _key(asked: RunSpec, lab_dir: Path) -> str:
    """What a measurement holds for: device, torch, threads, number type, method."""
    devices = _devices(lab_dir)
    if devices == ["cpu"]:
        facts = probe.cpu()
        threads = os.environ.get("OMP_NUM_THREADS", "all")
        device = f"{facts['model']}, {facts['usable']} cores, {threads} threads"
    else:
        # The engine's first device; a power limit slows it down as another card would, and a slice of it is another.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        device = _gpu(devices[0]) + (f", {visible}" if "MIG" in visible else "")
    return f"{device} | torch {importlib.metadata.version('torch')} | {dtype_of(asked)} | method {_METHOD}"


def _devices(lab_dir: Path) -> list[str]:
    """The engine's devices: UUIDs of GPUs, or ``cpu`` alone."""
    return ["cpu"] if engine_args.lab_facts(lab_dir).get("variant") == "cpu" else locks.devices(os.environ)


def _gpu(uuid: str) -> str:
    return next(iter(_asked_of(uuid, "gpu=name,uuid,power.limit")), uuid)


def others_on(uuid: str) -> bool:
    """Whether somebody computes on this GPU, to be asked before anything here does; False where nothing says."""
    return taken(_asked_of(uuid, "gpu=uuid,utilization.gpu"), _asked_of(uuid, "compute-apps=gpu_uuid,pid"))


def taken(spent: list[str], processes: list[str]) -> bool:
    """By nvidia-smi's lines of one GPU: ``UUID, 37 %`` (utilisation over the last moments), and one a process.

    A container may see no processes of others; a slice of a GPU (MIG) has no utilisation ("[N/A]").
    """
    share = spent[0].rpartition(",")[2].strip(" %") if spent else ""
    return bool(processes) or (share.isdecimal() and int(share) > 0)


def _asked_of(uuid: str, query: str) -> list[str]:
    """The lines of nvidia-smi's answer that name this GPU; none where it cannot be asked."""
    command = [shutil.which("nvidia-smi") or "nvidia-smi", f"--query-{query}", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        out = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        return [line.strip() for line in out.splitlines() if uuid in line]
    return []


def _known(lab_dir: Path) -> dict[str, Any]:
    """What was measured before, by key; nothing where the file is missing or broken."""
    with contextlib.suppress(OSError, ValueError):
        data = json.loads((lab_dir / NAME).read_text(encoding="utf-8"))
        return {key: held for key, held in data.items() if isinstance(held, dict)} if isinstance(data, dict) else {}
    return {}


def _remember(lab_dir: Path, key: str, found: dict[str, Any]) -> None:
    # A lab that cannot be written costs the next run its five seconds, no more.
    with contextlib.suppress(OSError):
        text = json.dumps({**_known(lab_dir), key: found}, indent=1) + "\n"
        rundir.write_atomic(lab_dir / NAME, text.encode())


def _measure(dtype: str) -> dict[str, Any]:
    """Have a process of its own measure. Raises OSError, SubprocessError, ValueError."""
    with tempfile.TemporaryDirectory(prefix="labctl-") as folder:
        out = Path(folder) / NAME
        command = [sys.executable, "-I", "-m", "labctl.runner.rates", dtype, str(out)]
        # What it prints goes into the engine's log, as what the worker prints does.
        subprocess.run(command, stdin=subprocess.DEVNULL, timeout=_PATIENCE_S, check=True)
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found
