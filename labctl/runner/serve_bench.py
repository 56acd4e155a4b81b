"""vLLM's own serving benchmark against a server, at each concurrency or request rate: ``vllm bench serve``.

Its JSON is kept as it is. Around each run of it stand a warm-up of our own and the server's counters, so that a point
that found a warm prefix cache, or shared the server with somebody, can be told from one that did not.
"""

from __future__ import annotations

import random
import time
import zlib
from functools import partial
from typing import TYPE_CHECKING

from labctl.runner import attached, bench_client, load, rundir, series, serving, wire
from labctl.runner.bench_client import Client, Point
from labctl.runner.events import lenient
from labctl.runner.failures import ClientError
from labctl.runner.workloads import ServeBench

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from labctl.runner.events import Events
    from labctl.runner.serving import Endpoint
    from labctl.runner.spec import RunSpec

_RESET = "/reset_prefix_cache"
_TRIES, _PAUSE = 10, 0.5
_SEEDS = 2**32  # numpy's, which the client seeds


def run(asked: RunSpec, run_dir: Path, events: Events) -> None:
    """Find the client, then measure every point. Raises ClientError, ServerError (also where it dies), ArgumentError.

    A point of which no request was answered is recorded; only a run without any other is an error.
    """
    work = asked.workload
    assert isinstance(work, ServeBench)  # noqa: S101 - the worker chooses by the kind
    if work.server:
        attached.find(work.server, run_dir)
    with events.during("client") as told:
        known = bench_client.flags()
        told["flags"] = len(known)
    with _server(asked, work, run_dir, events) as endpoint:
        load.check_length(endpoint, work.input_tokens + work.output_tokens)
        client = Client(work, endpoint, load.used_engine(run_dir), asked.sampling, known)
        bench = _Bench(client, run_dir, events)
        answered = [bench.measure(point) for point in points(work, _seed(asked, work, run_dir))]
        if not any(answered):
            raise ClientError("no request of any point was answered; the engine log has the client's own words")


def _server(asked: RunSpec, work: ServeBench, run_dir: Path, events: Events) -> AbstractContextManager[Endpoint]:
    if work.server:
        return attached.attached(work.server, run_dir, events)
    return serving.serving(asked, run_dir, events, dev=work.reset == "cache")


def _seed(asked: RunSpec, work: ServeBench, run_dir: Path) -> int:
    """The first point's: on a kept server another one for each run, for its cache may hold what the last one sent."""
    return asked.seed + (zlib.crc32(run_dir.name.encode()) if work.server else 0)


def points(work: ServeBench, seed: int) -> list[Point]:
    """Every point in order, each repeat of a shape right after the other; seeds differ unless the cache is emptied."""
    shapes: list[tuple[int | None, float | None]] = [(one, None) for one in work.concurrencies]
    shapes += [(None, rate) for rate in work.rates]
    made: list[Point] = []
    for concurrency, rate in shapes:
        requests = max(work.requests, work.rounds * (concurrency or 0))
        for repeat in range(work.repeats):
            number = len(made) + 1
            own = (seed + (number if work.reset == "seed" else 0)) % _SEEDS
            made.append(Point(number, concurrency, rate, requests, own, repeat))
    return made


class _Bench:
    """A server and how its points are measured."""

    def __init__(self, client: Client, run_dir: Path, events: Events) -> None:
        self.client, self.run_dir, self.events = client, run_dir, events
        self.work, self.endpoint = client.work, client.endpoint

    def measure(self, point: Point) -> bool:
        """Warm up, then run the client once. Returns whether any request was answered. Raises ClientError."""
        said = self.client.words(point)
        if self.work.warmups:
            with self.events.during("warmup", number=point.number) as told:
                told["failed"] = self._warm_up(point)
        reset = self._reset() if self.work.reset == "cache" else None
        name = f"point-{point.number:02d}"
        (self.run_dir / point.file).parent.mkdir(exist_ok=True)
        series.keep(self.endpoint, self.run_dir / rundir.before(name))
        command = " ".join(["vllm", "bench", "serve", *said])
        more = {"goodput": self.work.goodput, "prefix_cache_reset": reset, "command": command}
        with self.events.during("point", **point.told(), **more) as told:
            began = time.monotonic()
            self.client.run(said, self.run_dir, partial(serving.healthy, self.endpoint))
            told["seconds"] = round(time.monotonic() - began, 6)
            if not serving.healthy(self.endpoint):
                raise ClientError(f"the server stopped answering during point {point.number}")
        series.keep(self.endpoint, self.run_dir / rundir.after(name))
        result = lenient((self.run_dir / point.file).read_text(encoding="utf-8", errors="replace"))
        return bool(result.get("completed"))

    def _warm_up(self, point: Point) -> int:
        """Requests of the point's lengths at its concurrency, with prompts that the client does not send.

        The client's own warm-up sends the first measured prompt, which then lies in the prefix cache. Returns how
        many failed.
        """
        dice = random.Random(f"warmup/{point.number}/{point.seed}")  # noqa: S311 - prompts, no secrets
        ids = load.vocabulary(str(self.client.engine.get("model", "")))
        many = max(self.work.warmups, point.concurrency or 0)
        prompts = [load.prompt(dice, self.work.input_tokens, ids) for _ in range(many)]
        requests = [load.Asked(prompt, self.work.output_tokens) for prompt in prompts]
        lives = load.at_once(self.endpoint, requests, self.client.sampling, time.monotonic())
        return sum(one.error is not None for one in lives)

    def _reset(self) -> bool:
        """Empty the server's prefix cache (its dev mode: vllm/entrypoints/serve/dev/cache/api_router.py, 0.32.0).

        Whether it was done: while the last blocks of the warm-up are held, 0.32.0 answers that it was not.
        """
        for _ in range(_TRIES):
            answer = wire.post_json(self.endpoint, _RESET, None)
            if answer.status == wire.OK and lenient(answer.text).get("success", True):
                return True
            time.sleep(_PAUSE)
        return False
