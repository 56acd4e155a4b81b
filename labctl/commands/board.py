"""Where each host's run is: one live line or table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from labctl.commands.options import say
from labctl.errors import LabError
from labctl.report.text import line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from labctl.inventory import Host


class Board:
    """Threads tell it what they do; the main thread draws. Use it in a ``with``."""

    def __init__(self, targets: Sequence[Host]) -> None:
        """One row a host."""
        self._lock = threading.Lock()
        self._rows: dict[str, dict[str, Any]] = {host.name: self._row(host.name) for host in targets}
        self._terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._live: Any = None
        self._open = True

    @staticmethod
    def _row(host: str) -> dict[str, Any]:
        return {"host": host, "run": "", "state": "", "since": time.monotonic()}

    def __enter__(self) -> Self:
        if self._terminal and len(self._rows) > 1:
            # rich takes a tenth of a second to import: only who sees the table pays for it.
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), get_renderable=self._table, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._open = False
        if self._live is not None:
            self._live.stop()
        elif self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def hint(self) -> None:
        """Say once, to who watches, what can be done meanwhile."""
        if self._terminal:
            say("Ctrl-C detaches, the run goes on. Its log: labctl logs -f")

    @contextmanager
    def watching(self, host: str) -> Iterator[None]:
        """A host's row from its connection on; an error ends it."""
        self.state(host, "connecting")
        try:
            yield
        except (LabError, OSError):
            self.done(host, "error")
            raise

    def run(self, host: str, run_id: str) -> None:
        """The run of a host has a name now."""
        self._rows[host]["run"] = run_id

    def state(self, host: str, text: str) -> None:
        """What a host does now; an ending row keeps its time."""
        text = line(text, 60)
        row = self._rows[host]
        with self._lock:
            changed = row["state"] != text
            row["state"] = text
            if changed and self._open and not self._terminal:
                who = host if len(self._rows) > 1 else row["run"] or host
                say(f"{who}: {text} ({self._seconds(row):.0f} s)")

    def done(self, host: str, text: str) -> None:
        """A host is through."""
        self.state(host, text)
        self._rows[host]["took"] = self._seconds(self._rows[host])

    def tick(self) -> None:
        """Draw again: the seconds go on."""
        if not self._terminal or self._live is not None or not self._open:
            return
        [row] = self._rows.values()
        text = f"{row['run'] or row['host']}: {row['state']} ({self._seconds(row):.0f} s)"
        sys.stderr.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
        sys.stderr.flush()

    def _seconds(self, row: dict[str, Any]) -> float:
        took = row.get("took")
        return float(took if took is not None else time.monotonic() - row["since"])

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for name in ("host", "run", "state"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        table.add_column("s", justify="right", no_wrap=True)
        with self._lock:
            for row in self._rows.values():
                # Text, not markup: a host's words are never taken for colours.
                cells = [row["host"], row["run"], row["state"], f"{self._seconds(row):.0f}"]
                table.add_row(*(Text(cell) for cell in cells))
        return table
