"""Batching made visible: one load that arrives over some seconds, served in three ways by the same server.

``continuous``: each request is sent when it arrives, and vLLM batches as it likes. ``static``: groups in the order of
arrival; a group is sent once its last member has arrived and the group before has ended completely. ``alone``: one
request after another. All three times the same arrivals and lengths; the prompts' tokens differ, so that a warm prefix
cache helps none.
"""

from __future__ import annotations

import json
import random
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from labctl.runner import load, rundir, series, serving
from labctl.runner.failures import ServerError
from labctl.runner.workloads import Arrivals

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner.events import Events
    from labctl.runner.serving import Endpoint
    from labctl.runner.spec import RunSpec

# Enough for every kernel to be compiled and every batch size on the way to be met.
_WARM_UP_TOKENS = 16


class Arrival(NamedTuple):
    """One request of the load: when it arrives (s since its way's start), and its lengths in tokens."""

    planned_s: float
    prompt_tokens: int
    output_tokens: int


def plan(work: Arrivals, seed: int) -> list[Arrival]:
    """The load in the order of arrival; the same for the same seed."""
    dice = random.Random(f"arrivals/{seed}")  # noqa: S311 - a load, no secret
    times = sorted(round(dice.uniform(0.0, work.seconds), 3) for _ in range(work.requests))
    return [Arrival(at, dice.randint(*work.prompt_tokens), dice.randint(*work.output_tokens)) for at in times]


def groups(way: str, many: int, static: int) -> list[list[int]]:
    """Which requests are sent together, in order; each group waits for the one before, but in ``continuous``."""
    size = static if way == "static" else 1
    return [list(range(first, min(first + size, many))) for first in range(0, many, size)]


def run(asked: RunSpec, run_dir: Path, events: Events) -> None:
    """One server, one warm-up, then the load in each way. Raises ServerError (also where it dies), ArgumentError."""
    work = asked.workload
    assert isinstance(work, Arrivals)  # noqa: S101 - the worker chooses by the kind
    arriving = plan(work, asked.seed)
    with serving.serving(asked, run_dir, events) as endpoint:
        load.check_length(endpoint, max(one.prompt_tokens + one.output_tokens for one in arriving))
        lab = _Lab(asked, run_dir, events, endpoint)
        with events.during("warmup", requests=len(arriving)) as told:
            told["failed"] = lab.warm_up(arriving)
        answered = 0
        for way in ("continuous", "static", *(["alone"] if work.alone else [])):
            with events.during(way, requests=len(arriving)) as told:
                told.update(lab.measure(way, arriving, work.static))
                if not serving.healthy(endpoint):
                    raise ServerError(f"the server stopped answering during {way}")
                answered += told["answered"]
        if not answered:
            raise ServerError(f"no request was answered; {rundir.ARRIVALS} says why for each")


class _Lab:
    """The server with its load: sends it in one way or another and writes down what became of each request."""

    def __init__(self, asked: RunSpec, run_dir: Path, events: Events, endpoint: Endpoint) -> None:
        self.asked, self.run_dir, self.events, self.endpoint = asked, run_dir, events, endpoint
        self.ids = load.vocabulary(str(load.used_engine(run_dir).get("model", "")))
        self.lock = threading.Lock()
        self.broken: list[OSError] = []

    def requests(self, way: str, arriving: list[Arrival]) -> list[load.Asked]:
        dice = random.Random(f"{way}/{self.asked.seed}")  # noqa: S311 - prompts, no secrets
        return [load.Asked(load.prompt(dice, one.prompt_tokens, self.ids), one.output_tokens) for one in arriving]

    def warm_up(self, arriving: list[Arrival]) -> int:
        """Every prompt length at once, with short answers; what comes of it is not kept, but how many failed."""
        zero = time.monotonic()
        short = [load.Asked(one.prompt, min(one.output_tokens, _WARM_UP_TOKENS)) for one in self.requests("", arriving)]
        lives = load.at_once(self.endpoint, short, self.asked.sampling, zero)
        return sum(one.error is not None for one in lives)

    def measure(self, way: str, arriving: list[Arrival], static: int) -> dict[str, int]:
        """Send the load in one way, /metrics scraped meanwhile. Returns how many requests were answered and failed.

        Raises OSError (a full disk).
        """
        requests, failed = self.requests(way, arriving), list[int]()
        series.keep(self.endpoint, self.run_dir / rundir.before(way))
        with series.Series(self.endpoint, self.run_dir, self.events, way):
            zero, running = time.monotonic(), []
            for members in groups(way, len(arriving), static):
                _sleep_until(zero + max(arriving[one].planned_s for one in members))
                jobs = [partial(self._one, way, one, arriving[one], requests[one], zero, failed) for one in members]
                running += load.together(jobs)
                if way != "continuous":
                    _join(running)
            _join(running)
        series.keep(self.endpoint, self.run_dir / rundir.after(way))
        if self.broken:
            raise self.broken[0]
        return {"answered": len(arriving) - len(failed), "failed": len(failed)}

    def _one(  # noqa: PLR0913, PLR0917 - what one row is made of
        self, way: str, number: int, arrival: Arrival, asked: load.Asked, zero: float, failed: list[int]
    ) -> None:
        life = load.live(self.endpoint, asked, self.asked.sampling, zero)
        row = {"way": way, "request": number, "planned_s": arrival.planned_s, **life._asdict()}
        with self.lock:
            if life.error is not None:
                failed.append(number)
            try:
                with (self.run_dir / rundir.ARRIVALS).open("a", encoding="utf-8") as handle:
                    handle.write(json.dumps(row) + "\n")
            except OSError as error:  # a full disk: raised where all threads are joined
                self.broken.append(error)


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join()
