"""The session to this very machine: the same verbs and the same fetch path as any other host."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from labctl.errors import ServerError, TransferError, UnreachableError
from labctl.sessions import Done, Entry, Session, Want, relay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from labctl.inventory import Host

_DIAL_S = 10.0


class LocalSession(Session):
    """Runs commands with subprocess and copies files; ``env`` adds to this process's own environment."""

    def __init__(self, host: Host) -> None:
        """Nothing is opened: the line to this machine always stands."""
        self.host = host

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def reopen(self) -> None:
        """See Session.reopen."""

    def run(self, command: Sequence[str], *, timeout: float = 60.0, env: Mapping[str, str] | None = None) -> Done:
        """See Session.run."""
        try:
            done = subprocess.run(
                list(command),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout,
                check=False,
                env={**os.environ, **(env or {})},
                # Ctrl-C at the terminal is for labctl alone: what runs on a host hears nothing of it.
                start_new_session=True,
            )
        except FileNotFoundError:
            return Done(127, "", f"{command[0]}: no such program")
        except subprocess.TimeoutExpired:
            # Without the command, which may hold a whole program, and without the cause, which would show it.
            raise UnreachableError(f"{self.host.name}: {command[0]} gave no answer in {timeout:.0f} s") from None
        except OSError as error:
            raise UnreachableError(f"{self.host.name}: {command[0]} could not be run: {error}") from error
        return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def claim(self, folder: str) -> bool:
        """See Session.claim."""
        try:
            Path(folder).parent.mkdir(parents=True, exist_ok=True)
            Path(folder).mkdir()
        except FileExistsError:
            return False
        except OSError as error:
            raise TransferError(f"{self.host.name}: cannot make {folder}: {error.strerror or error}") from error
        return True

    def put(self, data: bytes, target: str, *, mode: int = 0o640) -> None:
        """See Session.put."""
        scratch = Path(f"{target}.part")
        try:
            scratch.parent.mkdir(parents=True, exist_ok=True)
            # The mode is set at creation: a secret must not be readable even for a moment.
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(data)
            scratch.replace(target)
        except OSError as error:
            scratch.unlink(missing_ok=True)
            raise TransferError(f"{self.host.name}: cannot write {target}: {error.strerror or error}") from error

    def bring(
        self, folder: str, wanted: Sequence[Want], into: Callable[[str], AbstractContextManager[BinaryIO]]
    ) -> set[str]:
        """See Session.bring."""
        found = set()
        for want in wanted:
            try:
                reader = (Path(folder) / want.name).open("rb")
            except FileNotFoundError:
                continue
            except OSError as error:
                what = f"{self.host.name}: cannot read {folder}/{want.name}: {error.strerror or error}"
                raise TransferError(what) from error
            with reader, into(want.name) as writer:
                reader.seek(want.offset)
                self._copy(reader, writer, want.limit)
            found.add(want.name)
        return found

    def _copy(self, reader: BinaryIO, writer: BinaryIO, left: int) -> None:
        while left and (data := reader.read(min(left, 1 << 20))):
            writer.write(data)
            left -= len(data)

    def walk(self, folder: str) -> list[Entry] | None:
        """See Session.walk."""
        root = Path(folder)
        if not root.is_dir():
            return None
        found = []
        for here, names, leaves in os.walk(root):
            links = [name for name in names if (Path(here) / name).is_symlink()]
            for leaf in (*leaves, *links):
                path = Path(here) / leaf
                try:
                    facts = path.lstat()
                except FileNotFoundError:
                    continue
                relative = path.relative_to(root).as_posix()
                found.append(Entry(relative, facts.st_size, stat.S_ISREG(facts.st_mode)))
        return found

    def names(self, folder: str) -> list[str] | None:
        """See Session.names."""
        try:
            return sorted(path.name for path in Path(folder).iterdir())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TransferError(f"{self.host.name}: cannot list {folder}: {error.strerror or error}") from error

    def wait(self, path: str, seconds: float) -> bool:
        """See Session.wait."""
        deadline = time.monotonic() + seconds
        while not Path(path).exists():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    @contextmanager
    def forward(self, port: int, address: str = relay.LOOPBACK, local: int = 0) -> Iterator[int]:
        """See Session.forward: the port itself where that is what was asked for, else a relay to it."""

        def dial() -> socket.socket:
            line = socket.create_connection((address, port), timeout=_DIAL_S)
            line.settimeout(None)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return line

        try:
            dial().close()
        except OSError as error:
            what = f"nothing answers at {address}:{port} on {self.host.name}: {error.strerror or error}"
            raise ServerError(what) from error
        if address == relay.LOOPBACK and local in {0, port}:
            yield port
            return
        with relay.listening(dial, local) as here:
            yield here
