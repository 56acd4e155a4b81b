"""What the way to a kept server costs, on a real container host: by the benchmarks `ask` and `stream`.

The server is the stand-in for ``vllm serve``, which answers at once: what is measured is the way, not an engine.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from labctl import api_keys, inventory
from labctl.asking import Question, answer
from labctl.runner.serving import Endpoint
from labctl.sessions import open_session
from tests.benchmarks.hosts import hosts
from tests.benchmarks.pairs import compare
from tests.e2e.conftest import LABCTL
from tests.hosts import light_lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.hosts.laptop import Laptop

PORT = 8765
QUESTION = "Hello"


class Served(NamedTuple):
    """The server through the tunnel, and past it over the bridge of the containers."""

    tunnel: Endpoint
    direct: Endpoint
    laptop: Laptop


@contextmanager
def served() -> Iterator[Served]:
    """A host with a server that is up, and a tunnel to it as `labctl ask` opens one."""
    with hosts(1) as (laptop, [machine]):
        up = ("up", "server", "--model", light_lab.MODEL, "--host", machine.name, "--port", str(PORT))
        laptop(*up, "--expose", "0.0.0.0")  # noqa: S104 - on the test host
        key = api_keys.kept(laptop.folder, machine.name, laptop.newest().name)
        target = inventory.resolve(machine.name, laptop.inventory)
        with known(laptop), open_session(target) as session, session.forward(PORT) as port:
            place = Endpoint("127.0.0.1", port, light_lab.MODEL, key, 0)
            yield Served(place, place._replace(address=machine.address, port=PORT), laptop)
        laptop("down")


@contextmanager
def known(laptop: Laptop) -> Iterator[None]:
    """This process finds hosts as the laptop does."""
    before = dict(os.environ)
    os.environ.update({name: laptop.env[name] for name in ("PATH", "HOME")})
    os.environ.pop("SSH_AUTH_SOCK", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def first(endpoint: Endpoint) -> float:
    """Seconds from the question, the connection included, to its first token, as `labctl ask` tells them."""
    pieces = list(answer(endpoint, Question(QUESTION, chat=True, max_tokens=2), stream=True))
    return pieces[0].seconds


def by_curl(endpoint: Endpoint, trace: Path) -> float:
    """The same by curl, from its own trace: without the start of its process."""
    body = Question(QUESTION, chat=True, max_tokens=2).body(endpoint.model, stream=True)
    url = f"http://{endpoint.address}:{endpoint.port}/v1/chat/completions"
    words = ["curl", "-sN", url, "-H", "Content-Type: application/json", "-d", json.dumps(body)]
    words += ["-H", f"Authorization: Bearer {endpoint.key}", "--trace-time", "--trace-ascii", str(trace)]
    subprocess.run(words, capture_output=True, check=True)
    lines = trace.read_text().splitlines()
    text, came = "", lines[0]
    for line in lines:
        if "<= Recv data" in line:
            came = line
        elif re.match("[0-9a-f]{4}: ", line):
            # Data stands in rows of 64 characters.
            text += line[6:]
            if '"content": " t0"' in text:
                return (_clock(came) - _clock(lines[0])).total_seconds()
    raise SystemExit(f"curl got no token: {text[-300:]}")


def _clock(line: str) -> datetime:
    return datetime.strptime(line.split(maxsplit=1)[0], "%H:%M:%S.%f")  # noqa: DTZ007 - a difference is wanted


def bench_ask() -> None:
    """The first token of `labctl ask` against curl's through the same tunnel; and the whole program."""
    with served() as (tunnel, _, laptop):
        trace = laptop.folder / "trace"
        first(tunnel)
        found = compare(lambda: first(tunnel), lambda: by_curl(tunnel, trace), 31)
        print("first token, labctl ask / curl, same tunnel:", found)
        walls = []
        for _ in range(7):
            began = time.perf_counter()
            with subprocess.Popen(
                [LABCTL, "ask", QUESTION, "--max-tokens", "1"],
                env=laptop.env,
                cwd=laptop.folder,
                stdout=subprocess.PIPE,
            ) as process:
                assert process.stdout is not None
                process.stdout.read(1)
                walls.append(time.perf_counter() - began)
        walls.sort()
        print(
            f"the whole `labctl ask` until its first token: median {walls[3]:.2f} s, {walls[0]:.2f} to {walls[-1]:.2f}"
        )


def stream(endpoint: Endpoint, tokens: int) -> float:
    """Seconds of an answer of so many tokens, each an event of its own, sent as fast as it is taken."""
    began = time.perf_counter()
    came = list(answer(endpoint, Question(QUESTION, chat=True, max_tokens=tokens), stream=True))
    if len(came) != tokens:
        raise SystemExit(f"{len(came)} tokens came of {tokens}")
    return time.perf_counter() - began


def many(endpoint: Endpoint, streams: int, tokens: int) -> float:
    """The same, so many at once."""
    began = time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        list(pool.map(lambda _: stream(endpoint, tokens), range(streams)))
    return time.perf_counter() - began


def gap(endpoint: Endpoint) -> float:
    """Median seconds between tokens that are sent a tenth of a second apart."""
    pieces = list(answer(endpoint, Question("slow 1", chat=True, max_tokens=20), stream=True))
    return statistics.median(b.seconds - a.seconds for a, b in itertools.pairwise(pieces))


def bench_stream() -> None:
    """Streams through the tunnel against direct ones over the bridge."""
    with served() as (tunnel, direct, _):
        first(direct)
        print("first token, tunnel / direct:", compare(lambda: first(tunnel), lambda: first(direct), 31))
        print("2,000 tokens, tunnel / direct:", compare(lambda: stream(tunnel, 2000), lambda: stream(direct, 2000), 15))
        print(
            "16 streams of 300 tokens at once, tunnel / direct:",
            compare(lambda: many(tunnel, 16, 300), lambda: many(direct, 16, 300), 9),
        )
        print("gap of tokens sent every 0.1 s, tunnel / direct:", compare(lambda: gap(tunnel), lambda: gap(direct), 5))
