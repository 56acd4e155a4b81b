#!/usr/bin/env python3
"""Run a command that ends with the SSH connection it came over, one at a time: ``tethered.py LOCK COMMAND...``.

Without a terminal nothing tells a program that its line is gone (Ctrl-C at labctl, a closed laptop): an installation
would go on by itself, into the next one. So the connection's sshd is looked for among the ancestors, and when it is
gone the command's process group is ended. Whoever else installs into this lab at the same time waits for LOCK.
Standard library only, Python 3.8 or newer. Ends as the command ends; 143 where it was ended.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time

# What a session of OpenSSH (before and since 9.8) and of dropbear is called.
SERVERS = ("sshd", "sshd-session", "dropbear")
LOOK_S = 0.5
GRACE_S = 5.0
ENDED = 143


def status(pid: int) -> tuple[str, int, str] | None:
    """Name, parent and start time of a process (proc(5)), None where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as handle:
            before, _, after = handle.read().rpartition(")")
    except OSError:
        return None
    fields = after.split()
    # A dead process that nobody has waited for yet is gone as well.
    return None if fields[0] in "ZX" else (before.partition("(")[2], int(fields[1]), fields[19])


def connection(pid: int) -> tuple[int, str] | None:
    """Pid and start time of the nearest ancestor that serves an SSH connection; None for a local command."""
    while pid > 1:
        found = status(pid)
        if found is None:
            return None
        name, parent, began = found
        if name in SERVERS:
            return pid, began
        pid = parent
    return None


def stands(line: tuple[int, str] | None) -> bool:
    """Whether the connection is still there."""
    if line is None:
        return True
    found = status(line[0])
    return found is not None and found[2] == line[1]


def end(process: subprocess.Popen[bytes]) -> None:
    """End the command's whole group, at last by force."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
            process.wait(timeout=GRACE_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def turn(path: str, line: tuple[int, str] | None) -> int | None:
    """Take the lock, waiting for whoever has it; None where the line went meanwhile. It goes with this process."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    while stands(line):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOOK_S)
        else:
            return descriptor
    return None


def main(lock: str, command: list[str]) -> int:
    """Give the command's exit status. Raises OSError where it cannot be started."""
    line = connection(os.getppid())
    if turn(lock, line) is None:
        return ENDED
    # A group of its own, so that what it starts ends with it; Ctrl-C at a terminal comes through here.
    process = subprocess.Popen(command, start_new_session=True)
    try:
        while stands(line):
            try:
                return process.wait(timeout=LOOK_S)
            except subprocess.TimeoutExpired:
                continue
    except KeyboardInterrupt:
        pass
    end(process)
    return ENDED


def interrupt(*_: object) -> None:
    """Take SIGTERM as Ctrl-C is taken."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
