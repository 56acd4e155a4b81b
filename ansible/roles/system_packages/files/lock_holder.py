"""Say who holds a lock of dpkg's kind: ``lock_holder.py FILE`` prints ``NAME (pid N)``, or nothing.

Asked of the kernel (fcntl's F_GETLK), since fuser and lslocks are not everywhere; nothing is locked by asking.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from pathlib import Path

# struct flock of Linux on 64 bits: type, whence, start, length, pid.
_FLOCK = "hhqqi4x"


def holder(path: str) -> int:
    """Process id of who holds the lock, 0 if nobody. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, asked))
    finally:
        os.close(handle)
    return 0 if kind == fcntl.F_UNLCK else pid


def main(path: str) -> None:
    """Print the holder."""
    pid = holder(path)
    if pid:
        # -1 and the like: a process of another PID namespace.
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() if pid > 0 else "another program"
        sys.stdout.write(f"{name} (pid {pid})\n")


if __name__ == "__main__":
    main(sys.argv[1])
