from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from labctl import labs
from labctl.commands import overrides
from labctl.errors import UsageError
from labctl.runner.workloads import Batches, Prompts, Requests, ServeBench

if TYPE_CHECKING:
    from labctl.runner import spec

BENCH_SERVE: dict[str, Any] = {
    "lab": "mine", "mode": "server", "model": "m", "workload": {"kind": "serve_bench", "rates": [1.0]},
}  # fmt: skip


def build(lab: dict[str, Any], **given: Any) -> spec.RunSpec:
    return labs.build(lab, vllm="0.32.0", env={}, **overrides.over(lab, **given))


def test_nothing_given_changes_nothing() -> None:
    lab = labs.read("offline")
    plain = labs.build(lab, vllm="0.32.0", env={})
    assert build(lab, model=None, engine=None, prompt=None, max_tokens=None, port=None, goodput=[]) == plain


def test_options_of_prompts() -> None:
    asked = build(labs.read("offline"), prompt=["Hi"], max_tokens=5, repeats=2, engine=["enforce_eager=true"], seed=7)
    assert isinstance(asked.workload, Prompts)
    assert (asked.workload.prompts, asked.workload.repeats, asked.seed) == (("Hi",), 2, 7)
    assert asked.sampling["max_tokens"] == 5
    assert asked.engine == {"enforce_eager": True}


def test_options_of_batches() -> None:
    asked = build(labs.read("bench"), batch_sizes="1, 4", prompt=["Hi"], max_tokens=5)
    assert isinstance(asked.workload, Batches)
    assert (asked.workload.sizes, asked.workload.prompt, asked.sampling["max_tokens"]) == ((1, 4), "Hi", 5)


def test_options_of_a_server() -> None:
    asked = build(labs.read("server"), max_tokens=7, port=8000)
    assert isinstance(asked.workload, Requests)
    assert {one["max_tokens"] for one in asked.workload.requests} == {7}
    assert asked.server is not None
    assert asked.server.port == 8000


def test_options_of_a_serving_benchmark() -> None:
    asked = build(BENCH_SERVE, concurrency="1,8", goodput=["ttft:200 tpot:50", "e2el:1e3"], server="123", max_tokens=9)
    work = asked.workload
    assert isinstance(work, ServeBench)
    assert (work.concurrencies, work.rates, work.output_tokens, work.server) == ((1, 8), (), 9, "123")
    assert work.goodput == {"ttft": 200.0, "tpot": 50.0, "e2el": 1000.0}
    work = build(
        {**BENCH_SERVE, "workload": {"kind": "serve_bench", "concurrencies": [4]}}, request_rate="0.5,2"
    ).workload
    assert isinstance(work, ServeBench)
    assert (work.concurrencies, work.rates) == ((), (0.5, 2.0))


def test_any_key_of_the_workload() -> None:
    work = build(BENCH_SERVE, workload=["input-tokens=64", "rates=2.5,3"]).workload
    assert isinstance(work, ServeBench)
    assert (work.input_tokens, work.rates) == (64, (2.5, 3.0))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"batch_sizes": "1"}, r"--batch-sizes is for labs of kind batches; offline is of kind prompts"),
        ({"port": 8000}, "--port is for a lab with a server"),
        ({"concurrency": "1"}, "--concurrency is for labs of kind serve_bench"),
        ({"server": "x"}, "--server is for labs of kind serve_bench"),
        ({"goodput": ["ttft:1"]}, "--goodput is for"),
        ({"workload": ["sizes=1"]}, "a workload of kind prompts has no sizes"),
        ({"workload": ["sizes"]}, "--workload takes KEY=VALUE"),
    ],
)
def test_an_option_that_this_kind_has_not(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        build(labs.read("offline"), **given)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"concurrency": "1,x"}, r"--concurrency takes whole numbers and commas \(1,4,8\), not '1,x'"),
        ({"request_rate": "fast"}, "--request-rate takes numbers"),
        ({"goodput": ["ttft"]}, "--goodput takes NAME:MILLISECONDS"),
        ({"goodput": ["ttft:soon"]}, "--goodput takes NAME:MILLISECONDS"),
        ({"goodput": ["itl:5"]}, "goodput knows ttft, tpot and e2el"),
        ({"request_rate": "nan"}, "a request rate must be a number"),
        ({"concurrency": "1", "request_rate": "1"}, "give one of them"),
        ({"concurrency": "0"}, "a concurrency must be a whole number of at least 1"),
    ],
)
def test_broken_options(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build(BENCH_SERVE, **given)


def test_one_prompt_for_batches() -> None:
    with pytest.raises(UsageError, match="one --prompt"):
        build(labs.read("bench"), prompt=["a", "b"])


@pytest.mark.parametrize(
    "given", [{"model": "m"}, {"engine": ["max_num_seqs=1"]}, {"port": 8000}, {"synthetic": False}]
)
def test_what_would_start_another_server_beside_one_that_runs(given: dict[str, Any]) -> None:
    build(BENCH_SERVE, **given)
    with pytest.raises(UsageError, match="123 is measured as it runs"):
        build(BENCH_SERVE, server="123", **given)


@pytest.mark.parametrize("lab", ["bench-serve", "batching"])
@pytest.mark.parametrize("name", ["max_tokens", "n", "min_tokens"])
def test_sampling_that_a_load_of_fixed_lengths_ignores(lab: str, name: str) -> None:
    assert build(labs.read(lab), sampling=["top_p=0.9"]).sampling["top_p"] == 0.9
    with pytest.raises(UsageError, match=f"has no use for the sampling argument {name}: it takes temperature.*tokens"):
        build(labs.read(lab), sampling=[f"{name}=2"])


def test_parameters_are_no_texts() -> None:
    with pytest.raises(UsageError, match="sampling argument top_p: it takes none"):
        build(labs.read("params"), sampling=["top_p=0.9"])
