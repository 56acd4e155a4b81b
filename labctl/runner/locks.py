"""One run at a time on each device: an flock per GPU UUID (or one for the CPU) in the lab directory."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SERVER = "server "


class BusyError(RuntimeError):
    """Another run holds a device; the message names it."""


def devices(environment: Mapping[str, str]) -> list[str]:
    """UUIDs of the GPUs that ``environment`` lets an engine use (CUDA_VISIBLE_DEVICES), or ["cpu"].

    Where it is unclear which they are, all of them; where nvidia-smi fails, one coarse lock for the machine.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return ["cpu"]
    command = [program, "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ["gpu"]
    rows = [[part.strip() for part in line.split(",")] for line in out.splitlines() if "," in line]
    return chosen([(row[0], row[1]) for row in rows], environment.get("CUDA_VISIBLE_DEVICES"))


def chosen(gpus: list[tuple[str, str]], visible: str | None) -> list[str]:
    """UUIDs of (index, UUID) pairs that CUDA_VISIBLE_DEVICES names: by index or by the start of a UUID, as in CUDA."""
    everything = [uuid for _, uuid in gpus] or ["gpu"]
    if visible is None:
        return everything
    found = []
    for part in filter(None, (part.strip() for part in visible.split(","))):
        match = [uuid for index, uuid in gpus if part == index or (part.startswith("GPU-") and uuid.startswith(part))]
        if len(match) != 1:
            return everything
        found += match
    return found or ["cpu"]


def server(name: str) -> str:
    """What a kept server of this name locks, beside its devices."""
    return f"{SERVER}{name}"


def file_of(name: str) -> str:
    """The file of a lock, below the lab's locks/."""
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)}.lock"


def take(folder: Path, names: list[str], holder: dict[str, Any]) -> list[int]:
    """Lock every device or none. Returns the open descriptors, which hold the locks while any copy is open.

    Raises BusyError naming the holder, OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held: list[int] = []
    for name in sorted(names):
        path = folder / file_of(name)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        held.append(handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = _holder(handle)
            for descriptor in held:
                os.close(descriptor)
            raise BusyError(f"{name} is held by {who}") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)
    return held


def _holder(handle: int) -> str:
    try:
        data = json.loads(os.pread(handle, 4096, 0))
        return f"run {data['run_id']} (pid {data['pid']}, since {data['since']}; `labctl stop {data['run_id']}`)"
    except (ValueError, KeyError, TypeError):
        return "a run that left no name"
