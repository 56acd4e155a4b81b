"""SshSession: the verbs of a session, each one exchange on the one connection to the host."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, NoReturn, Self

from labctl.errors import TransferError, UnreachableError
from labctl.sessions import Done, Entry, Session, Want, relay
from labctl.sessions.ssh import connect, forward, settings, shell
from labctl.sessions.ssh.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from fabric import Connection

    from labctl.inventory import Host

# Nothing on a host is that silent while it works on one of our small scripts.
PATIENCE = 15.0
# The loop of WAIT does nothing but look: an answer that is so late will not come.
_WAIT_PATIENCE = 8.0
_OUTPUT = 1024 * 1024
_LISTING = 4 * 1024 * 1024


class SshSession(Session):
    """One connection, opened by ``with`` and used for everything. Relative paths lie below the user's home."""

    def __init__(self, host: Host) -> None:
        """Nothing is opened yet."""
        self.host = host
        self._line: Connection | None = None
        self._spoken = False

    def __enter__(self) -> Self:
        self._spoken = False
        self._line = connect.connect(settings.ask(self.host.address, self.host.user, self.host.port), self.host.name)
        return self

    def __exit__(self, *_: object) -> None:
        if self._line is not None:
            # A transport that is gone already must not hide why.
            with contextlib.suppress(Exception):
                self._line.close()
            self._line = None

    def reopen(self) -> None:
        """See Session.reopen."""
        self.__exit__()
        self.__enter__()

    def run(self, command: Sequence[str], *, timeout: float = 60.0, env: Mapping[str, str] | None = None) -> Done:
        """See Session.run. A command that outlives ``timeout`` is left running."""
        deadline = time.monotonic() + timeout
        with self._ask(shell.RUN, command, env=env, patience=timeout) as talk:
            out = talk.rest(_OUTPUT)
            if time.monotonic() > deadline:
                raise UnreachableError(f"{self.host.name}: {command[0]} did not end in {timeout:.0f} s")
            return Done(talk.status(), out.decode(errors="replace"), talk.errors())

    def claim(self, folder: str) -> bool:
        """See Session.claim."""
        with self._ask(shell.CLAIM, [folder]) as talk:
            code = self._end(talk, f"cannot make {folder}")
            return code != shell.NO_SUCH

    def put(self, data: bytes, target: str, *, mode: int = 0o640) -> None:
        """See Session.put."""
        with self._ask(shell.PUT, [target, str(len(data)), f"{mode:o}"], stdin=data) as talk:
            if self._end(talk, f"cannot write {target}"):
                self._fail(talk, f"cannot write {target}")

    def bring(
        self, folder: str, wanted: Sequence[Want], into: Callable[[str], AbstractContextManager[BinaryIO]]
    ) -> set[str]:
        """See Session.bring."""
        asked = "".join(f"{want.offset} {want.limit}\n./{want.name}\n" for want in wanted)
        found = set()
        with self._ask(shell.BRING, [folder], stdin=asked.encode()) as talk, self._framed(talk, folder) as frames:
            for want in wanted:
                size = frames.size(want.limit)
                if size is not None:
                    with into(want.name) as writer:
                        frames.copy(size, writer)
                    found.add(want.name)
            frames.end()
        return found

    def walk(self, folder: str) -> list[Entry] | None:
        """See Session.walk."""
        with self._ask(shell.WALK, [folder]) as talk:
            out = talk.rest(_LISTING)
            if not out and talk.status() == shell.NO_SUCH:
                return None
            try:
                return shell.entries(out.decode(errors="surrogateescape"))
            except shell.GarbledError as error:
                talk.broke_off()
                why = talk.errors() or str(error)
                raise TransferError(f"{self.host.name}: cannot list {folder}: {why}") from error

    def names(self, folder: str) -> list[str] | None:
        """See Session.names."""
        with self._ask(shell.NAMES, [folder]) as talk:
            out = talk.rest(_LISTING)
            if self._end(talk, f"cannot list {folder}") == shell.NO_SUCH:
                return None
            return sorted(out.decode(errors="replace").split("\n")[:-1])

    def wait(self, path: str, seconds: float) -> bool:
        """See Session.wait."""
        times = str(round(seconds / 0.2))
        with self._ask(shell.WAIT, [path, times], patience=seconds + _WAIT_PATIENCE) as talk:
            talk.rest(_OUTPUT)
            return talk.status() == 0

    @contextlib.contextmanager
    def forward(self, port: int, address: str = relay.LOOPBACK, local: int = 0) -> Iterator[int]:
        """See Session.forward."""
        line = self._open_line()
        if not self._spoken:
            # sshd sends small pieces at once only after a command was run (OpenSSH's packet.c,
            # ssh_packet_set_interactive): 45 ms to a first token become 5.
            self.run(["true"])
        forward.check(line, self.host.name, (address, port))
        with relay.listening(lambda: forward.channel(line, (address, port)), local) as here:
            yield here

    def _open_line(self) -> Connection:
        if self._line is None:
            raise UnreachableError(f"the line to {self.host.name} is closed")
        return self._line

    @contextlib.contextmanager
    def _ask(
        self,
        script: str,
        arguments: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> Iterator[Exchange]:
        line = self._open_line()
        with Exchange(line, self.host.name, shell.command(script, arguments, env), patience=patience) as talk:
            talk.send(stdin)
            talk.begin()
            self._spoken = True
            yield talk

    @contextlib.contextmanager
    def _framed(self, talk: Exchange, folder: str) -> Iterator[shell.Frames]:
        try:
            yield shell.Frames(talk.read)
        except shell.GarbledError as error:
            talk.broke_off()
            what = f"{self.host.name}: cannot bring files of {folder}: {talk.errors() or error}"
            raise TransferError(what) from error

    def _end(self, talk: Exchange, what: str) -> int:
        """The exit status where it is 0 or "no such"; else TransferError."""
        talk.rest(_OUTPUT)
        code = talk.status()
        if code not in (0, shell.NO_SUCH):
            self._fail(talk, what)
        return code

    def _fail(self, talk: Exchange, what: str) -> NoReturn:
        raise TransferError(f"{self.host.name}: {what}: {talk.errors() or 'the host gave no reason'}")
