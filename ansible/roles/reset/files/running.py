"""Print, as JSON, the ids of processes that were started by a program in a folder: ``running.py FOLDER...``."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path


def programs(entry: Path) -> list[str]:
    """What a process runs: the file itself, and by which path it was called, as whose link (an environment's python).

    Raises OSError where the process ended meanwhile or is another user's.
    """
    called = os.fsdecode((entry / "cmdline").read_bytes().split(b"\0")[0])
    found = []
    if "/" in called:
        # A relative path began in the folder of then, which mostly is that of now.
        whole = called if called.startswith("/") else os.path.join(os.readlink(entry / "cwd"), called)
        # The folder's links only: the last one leads out of an environment.
        found.append(os.path.join(os.path.realpath(os.path.dirname(whole)), os.path.basename(whole)))
    with contextlib.suppress(OSError):  # another user's, whose command line can be read
        found.append(os.readlink(entry / "exe"))
    return found


def running(folders: list[str]) -> list[int]:
    """Whose program lies in one of them, whatever links lead there."""
    roots = tuple(os.path.realpath(folder) + "/" for folder in folders)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                ours = any(program.startswith(roots) for program in programs(entry))
            except OSError:
                continue
            if ours:
                found.append(int(entry.name))
    return sorted(found)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(running(sys.argv[1:])) + "\n")
