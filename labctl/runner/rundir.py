"""The run directory: names of its files, their checksums, and safe writing. Same layout on host and laptop."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

SPEC = "spec.json"
RECORD = "record.json"
SUMS = "SHA256SUMS"
EVENTS = "events.jsonl"
SAMPLES = "samples.csv"
OUTPUTS = "outputs.jsonl"
REQUESTS = "requests.jsonl"
ENGINE_LOG = "logs/engine.log"
RUNNER_LOG = "logs/runner.log"
SYSTEM = "machine/system.json"
PACKAGES = "machine/packages.txt"
# What another host of a span told of itself, by its rank.
NODE = "machine/node-{rank}.json"
METRICS = "metrics/end.prom"
CALLS = "api/calls.jsonl"
VERSION = "api/version.json"
ARRIVALS = "arrivals.jsonl"
SERIES = "metrics/series.jsonl"
CEILINGS = "bench/ceilings.json"
# A file kept only to be given up: its room lets the record of a run be written on a disk that filled up.
RESERVE = ".reserve"
# Made by the supervisor that starts here; there is never a second one.
STARTED = ".started"
# What the laptop adds; the host seals everything else.
UNSEALED = ("local", "report")

_DIGEST = re.compile("[0-9a-f]{64}")
_KINDS = {
    "logs": "log", "machine": "machine", "metrics": "metrics", "bench": "benchmark", "api": "api",
    SPEC: "spec", SAMPLES: "samples", OUTPUTS: "outputs", REQUESTS: "requests", ARRIVALS: "requests", EVENTS: "events",
}  # fmt: skip


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` so that a reader sees the old file or the new one, never half. Raises OSError."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with scratch.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise


def before(name: str) -> str:
    """The file with the server's metrics before ``name`` began: a way of batching, or ``point-NN``."""
    return f"metrics/{name}-before.prom"


def after(name: str) -> str:
    """The file with the server's metrics after it."""
    return f"metrics/{name}-after.prom"


def sha256(path: Path) -> str:
    """Hex sha256 of one file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def files(run_dir: Path) -> list[str]:
    """Sorted relative paths of the sealed files: regular ones, outside local/, report/, scratch and SHA256SUMS."""
    found = []
    for folder, names, leaves in os.walk(run_dir):
        here = Path(folder)
        if here == run_dir:
            names[:] = [name for name in names if name not in UNSEALED]
        for leaf in leaves:
            path = here / leaf
            relative = path.relative_to(run_dir).as_posix()
            if path.is_symlink() or leaf.startswith(".") or relative == SUMS:
                continue
            found.append(relative)
    return sorted(found)


def artifacts(run_dir: Path) -> list[dict[str, Any]]:
    """Each sealed file but the record as {"kind", "path", "size" (bytes), "sha256"}."""
    rows = []
    for name in files(run_dir):
        if name == RECORD:
            continue
        path = run_dir / name
        kind = _KINDS.get(name) or _KINDS.get(name.split("/")[0], "other")
        rows.append({"kind": kind, "path": name, "size": path.stat().st_size, "sha256": sha256(path)})
    return rows


def seal(run_dir: Path) -> None:
    """Write SHA256SUMS (the format of ``sha256sum``) over every sealed file. Raises OSError."""
    lines = [f"{sha256(run_dir / name)}  {name}\n" for name in files(run_dir)]
    write_atomic(run_dir / SUMS, "".join(lines).encode())


def manifest(text: str) -> dict[str, str]:
    """Parse SHA256SUMS into {relative path: hex digest}. Raises ValueError for a line or path that is not plain."""
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        digest, mark, name = line.partition("  ")
        parts = name.split("/")
        plain = mark and _DIGEST.fullmatch(digest) and name.isprintable() and not {"", ".", ".."} & set(parts)
        if not plain or "\\" in name or name in sums or parts[0] in UNSEALED:
            raise ValueError(f"{SUMS} line {number} is not a plain 'digest  path' line")
        sums[name] = digest
    return sums
