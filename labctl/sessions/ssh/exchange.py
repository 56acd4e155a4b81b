"""One command on an open connection: its input, its output as bytes, its exit status, nothing without a limit."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from paramiko.ssh_exception import ChannelException, SSHException

from labctl.errors import UnreachableError
from labctl.sessions.ssh.shell import MARK, NOISE

if TYPE_CHECKING:
    from fabric import Connection

_ERRORS_KEPT = 64 * 1024
_BUSY_WAITS_S = (0.05, 0.1, 0.2, 0.5, 1.0)


class _EndedError(Exception):
    """The command ended before it took its whole input (a full disk): its exit status says why."""


class Exchange:
    """A channel with a command running at its other end; use it in a ``with``.

    Every wait ends after ``patience`` seconds without a byte. Raises UnreachableError where the line is lost.
    """

    def __init__(self, line: Connection, host: str, command: str, *, patience: float) -> None:
        """Start the command."""
        self._line, self._host, self._patience = line, host, patience
        self._errors = bytearray()
        self._ahead = b""
        self._channel: Any = None
        # Not fabric's own way, which opens a lost connection anew without a word.
        self._channel = self._do(self._open)
        self._channel.settimeout(patience)
        self._start(command)

    def _open(self) -> Any:
        """A channel; a host that takes one at a time (MaxSessions) may still be closing the last one."""
        for wait in _BUSY_WAITS_S:
            try:
                return self._line.transport.open_session()
            except ChannelException:
                time.sleep(wait)
        return self._line.transport.open_session()

    def _start(self, command: str) -> None:
        """Have the command run; paramiko itself would wait for the host's yes without a limit."""
        limit = threading.Timer(self._patience, self._channel.close)
        limit.daemon = True
        limit.start()
        try:
            self._do(self._channel.exec_command, command)
        except _EndedError:
            raise self._lost(f"no answer in {self._patience:.0f} s") from None
        finally:
            limit.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def send(self, data: bytes) -> None:
        """Give the command its whole input."""
        with contextlib.suppress(_EndedError):
            if data:
                self._do(self._channel.sendall, data)
            self._do(self._channel.shutdown_write)

    def begin(self) -> None:
        """Pass over what the login printed before the command's own output."""
        seen = b""
        while MARK not in seen:
            data = self.read(4096)
            if not data or len(seen) > NOISE:
                said = (seen + bytes(self._errors)).decode(errors="replace").strip()
                why = f"it said: {said[-300:]}" if said else "it said nothing"
                raise UnreachableError(f"{self._host} runs no command for this user: {why}")
            seen += data
        self._ahead = seen.partition(MARK)[2]

    def read(self, most: int) -> bytes:
        """Between 1 and ``most`` bytes of output; none at its end."""
        if self._ahead:
            data, self._ahead = self._ahead[:most], self._ahead[most:]
            return data
        data = self._do(self._channel.recv, most)
        self._take_errors()
        return data  # type: ignore[no-any-return]  # paramiko has no types

    def rest(self, limit: int) -> bytes:
        """All output that is left, up to ``limit`` bytes; whatever comes after is not waited for."""
        found = bytearray()
        while len(found) < limit and (data := self.read(limit - len(found))):
            found += data
        return bytes(found)

    def status(self) -> int:
        """The command's exit status, once its output has ended."""
        if not self._channel.status_event.wait(self._patience):
            raise self._lost(f"no answer in {self._patience:.0f} s")
        self._take_errors()
        if self._channel.exit_status < 0:
            # A broken connection looks like the end of the output; only the missing status tells.
            raise self._lost("the connection broke, or the command was killed")
        return int(self._channel.exit_status)

    def broke_off(self) -> None:
        """Raise UnreachableError where the output ended because the line did."""
        if self._channel.eof_received or self._channel.closed:
            self.status()

    def errors(self) -> str:
        """What the command said on its standard error (the last of it)."""
        return bytes(self._errors).decode(errors="replace").strip()

    def _take_errors(self) -> None:
        while self._channel.recv_stderr_ready():
            self._errors += self._channel.recv_stderr(1 << 15)
            del self._errors[:-_ERRORS_KEPT]

    def _do(self, action: Any, *arguments: Any) -> Any:
        began = time.monotonic()
        try:
            return action(*arguments)
        except TimeoutError:
            raise self._lost(f"no answer in {time.monotonic() - began:.0f} s") from None
        except (SSHException, OSError, EOFError) as error:
            if self._channel is not None and self._channel.closed and self._line.is_connected:
                raise _EndedError from error
            raise self._lost(str(error) or type(error).__name__) from error

    def _lost(self, why: str) -> UnreachableError:
        return UnreachableError(f"the line to {self._host} was lost: {why}")
