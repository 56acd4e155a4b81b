#!/usr/bin/env python3
"""Run a command that ends with the SSH connection it came over, one at a time: ``tethered.py LOCK COMMAND...``.

Without a terminal nothing tells a program that its line is gone (Ctrl-C at labctl, a closed laptop): an installation
would go on by itself, into the next one. So the connection's sshd is looked for among the ancestors, and when it is
gone the command's process group is ended; where this program itself is killed, the command is too. Whoever else
installs into this lab at the same time waits for LOCK.
Standard library only, Python 3.8 or newer. Ends as the command ends; 143 where it was ended.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable  # noqa: TC003 - so that 3.8 needs no more than this

# What a session of OpenSSH (before and since 9.8) and of dropbear is called.
SERVERS = ("sshd", "sshd-session", "dropbear")
LOOK_S = 0.5
GRACE_S = 5.0
ENDED = 143
PR_SET_PDEATHSIG = 1
ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


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


def bound(parent: int) -> Callable[[], None]:
    """What a child does before its command: see to it that the kernel ends it with its parent."""
    prctl = ctypes.CDLL(None).prctl

    def bind() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it went before that
            os._exit(ENDED)

    return bind


def main(lock: str, command: list[str]) -> int:
    """Give the command's exit status. Raises OSError where it cannot be started."""
    line = connection(os.getppid())
    if turn(lock, line) is None:
        return ENDED
    # A group of its own, so that what it starts ends with it; Ctrl-C at a terminal comes through here.
    # Held back until there is a process to end.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    # Nothing else runs in this process, so code between fork and exec is safe.
    process = subprocess.Popen(command, start_new_session=True, preexec_fn=bound(os.getpid()))  # noqa: PLW1509
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
        while stands(line):
            try:
                return process.wait(timeout=LOOK_S)
            except subprocess.TimeoutExpired:
                continue
    except KeyboardInterrupt:
        pass
    # Signals come in twos and threes (systemd, a closed terminal): the first has said it.
    for kind in ENDS:
        signal.signal(kind, signal.SIG_IGN)
    end(process)
    return ENDED


def interrupt(*_: object) -> None:
    """Take SIGTERM and SIGHUP as Ctrl-C is taken."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # else nohup's wish
        signal.signal(signal.SIGHUP, interrupt)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
