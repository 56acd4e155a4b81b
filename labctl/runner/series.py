"""The server's own metrics a few times a second, while requests run: metrics/series.jsonl."""

from __future__ import annotations

import http.client
import json
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from labctl.runner import prom, rundir, wire

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner.events import Events
    from labctl.runner.serving import Endpoint

HZ = 5.0
# Longer than a busy server needs, shorter than would leave a hole that nobody sees.
_TIMEOUT = 5.0


def metrics(endpoint: Endpoint) -> str | None:
    """What ``/metrics`` says; None where it says nothing."""
    try:
        answer = wire.get(endpoint, "/metrics", _TIMEOUT)
    except (OSError, http.client.HTTPException):
        return None
    return answer.text if answer.status == wire.OK else None


def keep(endpoint: Endpoint, path: Path) -> None:
    """Write what ``/metrics`` says now; nothing is written where it says nothing. Raises OSError (a full disk)."""
    text = metrics(endpoint)
    if text is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def row(text: str) -> dict[str, float | None]:
    """Requests running and waiting, share of the KV cache in use (0 to 1), tokens so far; None: not said.

    Names as in vllm/v1/metrics/loggers.py (0.25.1, 0.32.0), set after each step of the engine. Of several engines
    behind one server (data parallel) the sum, and the fullest cache.
    """
    read = list(prom.samples(text))
    found = {
        "running": prom.total(read, "vllm:num_requests_running"),
        "waiting": prom.total(read, "vllm:num_requests_waiting"),
        "kv_usage": prom.greatest(read, "vllm:kv_cache_usage_perc"),
        "prompt_tokens": prom.total(read, "vllm:prompt_tokens"),
        "output_tokens": prom.total(read, "vllm:generation_tokens"),
    }
    return {name: None if one is None else one.value for name, one in found.items()}


class Series:
    """Appends one row a scrape, HZ times a second, within its ``with``; a scrape that fails leaves a hole."""

    def __init__(self, endpoint: Endpoint, run_dir: Path, events: Events, way: str) -> None:
        """``way``: what is going on meanwhile, said in each row."""
        self._endpoint, self._events, self._way = endpoint, events, way
        self._path = run_dir / rundir.SERIES
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._path.parent.mkdir(exist_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(_TIMEOUT + 1.0)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            text = metrics(self._endpoint)
            if text is not None:
                self._write({"t": self._events.now(), "way": self._way, **row(text)})
            # The next whole period that is still ahead: a slow scrape is not followed by a burst.
            behind = time.monotonic() - due
            due += (int(behind * HZ) + 1) / HZ
            self._over.wait(max(0.0, due - time.monotonic()))

    def _write(self, told: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(told) + "\n")
