"""What each host is being brought to: live rows at a terminal with the news above them, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from labctl.commands.options import say
from labctl.report.text import clean, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labctl.inventory import Host


class ProvisionBoard:
    """A ``provision.Show``; use it in a ``with``."""

    def __init__(self, targets: Sequence[Host], width: int) -> None:
        """Lines carry the host's name where there is a ``width`` for it."""
        self._width = width
        self._lock = threading.Lock()
        # Host -> (what it does now, since when).
        self._rows: dict[str, tuple[str, float | None]] = {host.name: ("", None) for host in targets}
        self._live: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            # rich takes a tenth of a second to import: only who sees the rows pays for it.
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                console=Console(stderr=True, highlight=False),
                get_renderable=self._table,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def line(self, host: str, text: str) -> None:
        """See Show.line."""
        told = host.ljust(self._width) + text if self._width else text
        if self._live is None:
            say(told)
            return
        from rich.text import Text

        # Text, not markup: a host's words are never taken for colours.
        self._live.console.print(Text(clean(told)), soft_wrap=True)

    def passing(self, host: str, text: str) -> None:
        """See Show.passing: a live row says it already."""
        if self._live is None:
            self.line(host, text)

    def doing(self, host: str, task: str) -> None:
        """See Show.doing."""
        with self._lock:
            self._rows[host] = (task, time.monotonic()) if task else (self._rows[host][0], None)

    def tick(self) -> None:
        """See Show.tick: rich draws by itself."""

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for name in ("host", "role", "task"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        table.add_column("s", justify="right", no_wrap=True)
        with self._lock:
            rows = dict(self._rows)
        for host, (task, since) in rows.items():
            role, _, name = task.rpartition(" : ")
            seconds = "" if since is None else f"{time.monotonic() - since:.0f} s"
            table.add_row(*(Text(line(cell, 300)) for cell in (host, role, name, seconds)))
        return table
