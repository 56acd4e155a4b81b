"""Print, as JSON, the ids of processes that were started by a program in a folder: ``running.py FOLDER/``."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def running(folder: str) -> list[int]:
    """Whose command line begins there; a process that ends meanwhile, or is another user's, does not count."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                program = (entry / "cmdline").read_bytes().split(b"\0")[0]
            except OSError:
                continue
            if program.decode(errors="replace").startswith(folder):
                found.append(int(entry.name))
    return sorted(found)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(running(sys.argv[1])) + "\n")
