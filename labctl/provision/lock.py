"""Only one labctl provisions a host at a time; who comes second is told who is there."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from labctl.errors import ProvisionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def held(folder: Path, host: str) -> Iterator[None]:
    """Hold the host's lock in this project. Raises ProvisionError naming the holder; OSError.

    The kernel lets go of it with the process, however that ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"provision-{host}.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another labctl"
            what = f"{host} is being provisioned already by {holder}: two at once would undo each other's work"
            raise ProvisionError(what) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} (since {datetime.now().astimezone():%H:%M:%S})")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
