"""ProxyCommand: a program whose input and output are the line to a host (ssh_config(5))."""

from __future__ import annotations

import socket
import subprocess
import threading


def start(command: str) -> socket.socket:
    """A socket whose other end is a ProxyCommand; closed, it ends a command that heeds the end of its input.

    paramiko's own waits a tenth of a second for whatever does not fill its buffer, and spins once the command ended.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        # A session of its own: Ctrl-C at the terminal is for labctl alone.
        words = ["sh", "-c", f"exec {command}"]
        process = subprocess.Popen(words, stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True)
    threading.Thread(target=process.wait, daemon=True, name="proxy").start()
    return ours
