"""Starts a program that ends where labctl ends: ``python -I -S tether.py PARENT PROGRAM WORDS...``.

ansible-runner gives Ansible a terminal and a session of its own, so that no closed terminal and no kill of labctl
reaches it: it would wait for ever for somebody to read what it says.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h; kept through exec


def main(parent: int, program: list[str]) -> None:
    """Become the program, unless the parent has gone already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:
        os.execv(program[0], program)  # noqa: S606 - the words come from labctl


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
