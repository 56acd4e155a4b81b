"""The session to this very machine: the same verbs and the same fetch path as any other host."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

from labctl.errors import TransferError, UnreachableError
from labctl.sessions import Done, Entry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labctl.inventory import Host


class LocalSession:
    """Runs commands with subprocess and copies files; ``env`` adds to this process's own environment."""

    def __init__(self, host: Host) -> None:
        """Nothing is opened: the line to this machine always stands."""
        self.host = host

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

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
        except (OSError, subprocess.TimeoutExpired) as error:
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

    def get(self, source: str, target: Path, *, offset: int = 0) -> int:
        """See Session.get."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with Path(source).open("rb") as reader, target.open("r+b" if offset else "wb") as writer:
                reader.seek(offset)
                writer.seek(offset)
                writer.truncate()
                shutil.copyfileobj(reader, writer, 1 << 20)
                return writer.tell() - offset
        except OSError as error:
            raise TransferError(f"{self.host.name}: cannot fetch {source}: {error.strerror or error}") from error

    def read(self, source: str, *, limit: int = 64 * 1024 * 1024) -> bytes | None:
        """See Session.read."""
        try:
            with Path(source).open("rb") as handle:
                data = handle.read(limit + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TransferError(f"{self.host.name}: cannot read {source}: {error.strerror or error}") from error
        if len(data) > limit:
            raise TransferError(f"{self.host.name}: {source} is larger than {limit} bytes")
        return data

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
