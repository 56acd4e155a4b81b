"""``python -I -m labctl.runner RUN_DIR`` starts a run; ``--stop`` ends one, ``--seal`` seals a dead one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from labctl.runner import ending, launch


def main() -> int:
    """Exit status: 0 done, 1 could not (one line on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m labctl.runner")
    parser.add_argument("run_dir", type=Path, help="a directory that holds spec.json")
    verb = parser.add_mutually_exclusive_group()
    verb.add_argument("--stop", action="store_true", help="end the run and wait until it is sealed")
    verb.add_argument("--seal", action="store_true", help="seal the run as lost if its supervisor is gone")
    verb.add_argument("--unit", metavar="NAME", help=argparse.SUPPRESS)  # how a unit of systemd starts it
    given = parser.parse_args()
    run_dir = given.run_dir.resolve()
    if given.stop:
        return ending.stop(run_dir)
    if given.seal:
        return ending.seal_if_lost(run_dir)
    if given.unit:
        return launch.as_unit(run_dir, given.unit)
    return launch.start(run_dir)


if __name__ == "__main__":
    sys.exit(main())
