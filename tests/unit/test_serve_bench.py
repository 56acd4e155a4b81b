from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labctl import labs
from labctl.runner import bench_client, spec
from labctl.runner.bench_client import Client, Point
from labctl.runner.failures import ClientError
from labctl.runner.serve_bench import points
from labctl.runner.serving import Endpoint
from labctl.runner.workloads import ServeBench

HELP = Path(__file__).parents[1] / "data" / "cpu-vllm-0.32.0-logs" / "bench-serve-help.txt"
KNOWN = frozenset(bench_client.known_flags(HELP.read_text()))
HERE = Endpoint("127.0.0.1", 8123, "facebook/opt-125m", "", 1)
POINT = Point(3, 8, None, 32, 7, 0)


def words(point: Point = POINT, *, known: frozenset[str] = KNOWN, engine: Any = None, **work: Any) -> list[str]:
    asked = ServeBench(concurrencies=(8,), **work)
    client = Client(asked, HERE, engine or {"model": "/models/x"}, {"temperature": 0.0, "max_tokens": 9}, known)
    return client.words(point)


def test_each_point_has_prompts_of_its_own_and_enough_of_them() -> None:
    made = points(ServeBench(concurrencies=(1, 16), requests=32, rounds=4, repeats=2), 100)
    assert [(one.number, one.concurrency, one.requests, one.repeat) for one in made] == [
        (1, 1, 32, 0), (2, 1, 32, 1), (3, 16, 64, 0), (4, 16, 64, 1),
    ]  # fmt: skip
    assert [one.seed for one in made] == [101, 102, 103, 104]


def test_where_the_cache_is_emptied_every_point_has_the_same_prompts() -> None:
    made = points(ServeBench(rates=(0.5, 2.0), reset="cache"), 5)
    assert [(one.rate, one.concurrency, one.seed) for one in made] == [(0.5, None, 5), (2.0, None, 5)]


def test_a_seed_is_one_that_numpy_takes() -> None:
    assert points(ServeBench(concurrencies=(1,)), 2**32 - 1)[0].seed == 0


def test_the_words_that_the_client_gets() -> None:
    said = words(goodput={"ttft": 500.0, "e2el": 2000})
    assert {"--max-concurrency=8", "--num-prompts=32", "--seed=7", "--ignore-eos", "--save-result", "--port=8123",
            "--random-input-len=512", "--random-output-len=128", "--tokenizer=/models/x", "--result-dir=bench",
            "--result-filename=serve-03.json", "--percentile-metrics=ttft,tpot,itl,e2el", "--temperature=0.0",
            "--num-warmups=0", "--save-detailed"} < set(said)  # fmt: skip
    assert said[said.index("--goodput") : said.index("--goodput") + 3] == ["--goodput", "e2el:2000", "ttft:500.0"]
    assert not [word for word in said if word.startswith(("--request-rate", "--trust-remote-code", "--max-tokens"))]


def test_a_rate_in_place_of_a_concurrency() -> None:
    said = words(Point(1, None, 0.5, 32, 1, 0))
    assert "--request-rate=0.5" in said
    assert not [word for word in said if word.startswith("--max-concurrency")]


def test_the_prompts_are_made_as_the_server_reads_them() -> None:
    said = words(engine={"model": "/m", "tokenizer": "/t", "tokenizer_mode": "slow", "trust_remote_code": True})
    assert {"--tokenizer=/t", "--tokenizer-mode=slow", "--trust-remote-code"} < set(said)


def test_a_version_without_an_optional_flag_is_asked_without_it() -> None:
    said = words(known=KNOWN - {"--num-warmups", "--save-detailed"})
    assert not [word for word in said if word.startswith(("--num-warmups", "--save-detailed"))]


def test_a_version_without_a_needed_flag_is_no_client() -> None:
    with pytest.raises(ClientError, match="no --goodput"):
        words(known=KNOWN - {"--goodput"}, goodput={"ttft": 1.0})


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("ModuleNotFoundError: No module named 'aiohttp'", "it lacks aiohttp (ModuleNotFoundError"),
        ("ImportError: Please install vllm[bench] for benchmark support", "it lacks vllm[bench] ("),
        ("ValueError: odd", "ValueError: odd"),
    ],
)
def test_the_error_says_what_is_missing(said: str, expected: str) -> None:
    assert bench_client.missing(said).startswith(expected)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ({"concurrencies": [1], "rates": [1.0]}, "one of both"),
        ({"concurrencies": [1], "rounds": 0}, "workload.rounds"),
        ({"concurrencies": [1], "goodput": {"itl": 5}}, "goodput knows"),
        ({"concurrencies": [1], "reset": "cache", "server": "x"}, "reset must be seed"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_starts(work: dict[str, Any], said: str) -> None:
    with pytest.raises(spec.SpecError, match=said):
        spec.from_dict({"lab": "x", "model": "m", "workload": {"kind": "serve_bench", **work}})


@pytest.mark.parametrize("name", ["bench-serve", "bench-serve-7b"])
def test_the_ready_benchmarks_measure_each_load_three_times(name: str) -> None:
    work = labs.build(labs.read(name), vllm="0.32.0", env={}).workload
    assert isinstance(work, ServeBench)
    made = points(work, 0)
    assert [one.repeat for one in made] == [0, 1, 2] * len(work.concurrencies)
    assert len({one.seed for one in made}) == len(made)
