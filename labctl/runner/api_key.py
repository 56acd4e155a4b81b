"""A kept server's API key on its own host: in a 0600 file as long as the server lives, never in a run directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# What vLLM reads (vllm/envs.py, 0.32.0); argv is for everyone on the host to read.
VARIABLE = "VLLM_API_KEY"


def file_name(run_id: str) -> str:
    """Its name in the lab's secrets/."""
    return f"{run_id}.key"


def path(run_dir: Path) -> Path:
    """Where the key of a run's server lies."""
    return run_dir.parent.parent / "secrets" / file_name(run_dir.name)


def keep(run_dir: Path) -> None:
    """Keep the key that this process was given, if any, for those who may read the lab. Raises OSError."""
    key = os.environ.get(VARIABLE)
    if not key:
        return
    path(run_dir).parent.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(path(run_dir), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(f"{key}\n")


def forget(run_dir: Path) -> None:
    """The server is gone: so is its key."""
    path(run_dir).unlink(missing_ok=True)
