"""Copies a process's output into the log: each line stamped on arrival and redacted before it is written."""

from __future__ import annotations

import os
import selectors
from typing import IO, TYPE_CHECKING, Self

from labctl.runner import clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LINE_CAP = 256 * 1024
# A runaway log must not fill the host's disk; the cap is said in the log's last line.
_FILE_CAP = 256 * 1024 * 1024


class LogPump:
    """Reads a pipe in steps; survives a full disk by dropping lines, never by blocking the engine."""

    def __init__(self, path: Path, pipe: IO[bytes], zero: float, redact: Callable[[str], str]) -> None:
        """``zero``: the anchor's monotonic value (s); lines become ``SECONDS<space>TEXT``."""
        self._file = path.open("ab", buffering=0)
        self._pipe = pipe
        self._zero = zero
        self._redact = redact
        self._rest = b""
        self._written = 0
        self.disk_full = False
        os.set_blocking(pipe.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(pipe, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line(self._rest)
        self._selector.close()
        self._file.close()

    def step(self, timeout: float) -> bool:
        """Wait up to ``timeout`` s for output and log it. False at the end of the pipe, or, with 0, when idle."""
        if not self._selector.select(timeout):
            return timeout > 0
        data = os.read(self._pipe.fileno(), 1 << 16)
        if not data:
            return False
        # A progress bar rewrites its line with \r: each state is a line of its own here.
        *lines, self._rest = (self._rest + data).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > _LINE_CAP:
            self._line(self._rest)
            self._rest = b""
        return True

    def _line(self, raw: bytes) -> None:
        text = raw.decode("utf-8", errors="replace").rstrip()
        if not text or self._written > _FILE_CAP:
            return
        line = f"{clock.since(self._zero):10.3f} {self._redact(text)[:_LINE_CAP]}\n".encode()
        self._written += len(line)
        if self._written > _FILE_CAP:
            line += b"labctl: the log reached its cap; the rest was dropped\n"
        try:
            self._file.write(line)
        except OSError:
            self.disk_full = True
