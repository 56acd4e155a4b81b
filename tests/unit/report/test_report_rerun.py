from __future__ import annotations

import shlex
from typing import Any

import pytest

from labctl.report.rerun import again, quote, rerun_command
from labctl.runner.placement import Server, Span
from labctl.runner.spec import RunSpec
from labctl.runner.workloads import Hold, Prompts, Requests


def spec(**changes: Any) -> RunSpec:
    work = Prompts(prompts=changes.pop("prompts", ("Hello, my name is", "it's")), repeats=3)
    return RunSpec(**{"lab": "offline", "model": "facebook/opt-125m", "workload": work, **changes})


def test_the_command_says_everything_that_was_asked() -> None:
    asked = spec(
        engine={"enforce_eager": True, "max_model_len": 2048, "dtype": "float16", "load": None},
        sampling={"temperature": 0.8, "stop": ["a b", "。"]},
        seed=7,
        synthetic=False,
    )
    words = shlex.split(rerun_command(asked, "gpu1"))
    assert words == [
        "labctl", "run", "offline", "--host", "gpu1", "--model", "facebook/opt-125m",
        "--engine", "dtype=float16", "--engine", "enforce_eager=true", "--engine", "load=null",
        "--engine", "max_model_len=2048",
        "--sampling", 'stop=["a b", "。"]', "--sampling", "temperature=0.8",
        "--prompt", "Hello, my name is", "--prompt", "it's",
        "--seed", "7", "--repeats", "3", "--no-synthetic",
    ]  # fmt: skip


def test_only_what_is_needed() -> None:
    assert rerun_command(spec(prompts=("x",)), "local") == (
        "labctl run offline --host local --model facebook/opt-125m --prompt x --seed 0 --repeats 3"
    )


def test_chinese_stays_readable() -> None:
    assert "--prompt '请解释 PagedAttention'" in rerun_command(spec(prompts=("请解释 PagedAttention",)), "local")


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("plain", "plain"),
        ("", "''"),
        ("$(id); `id`", "'$(id); `id`'"),
        ("a\nb", "$'a\\nb'"),
        ("esc\x1b[31m'\\", "$'esc\\x1b[31m\\'\\\\'"),
        ("x\u202ey", "$'x\\u202ey'"),
        ("\U000e0041", "$'\\U000e0041'"),
    ],
)
def test_a_pasted_word_does_nothing_but_be_a_word(word: str, quoted: str) -> None:
    assert quote(word) == quoted


def test_a_lab_that_looks_like_an_option_is_none() -> None:
    command = rerun_command(spec(lab="--host=evil"), "local")
    assert command.startswith("labctl run --host local ")
    assert command.endswith(" -- --host=evil")


def test_wrong_types_do_not_fail() -> None:
    odd = spec(lab="x", engine={"a": float("inf"), "b": {"c": [1]}})
    assert "--engine a=Infinity --engine 'b={\"c\": [1]}'" in rerun_command(odd, "local")


def test_what_options_cannot_say_is_run_from_its_spec() -> None:
    assert again(spec(), "local", "r1")[0] == "labctl run offline"
    for odd in (spec(lab="mine"), spec(env={"VLLM_X": "1"})):
        assert again(odd, "local", "r1") == ["labctl run runs/r1/spec.json", "--host local"]


def test_a_kept_server_is_brought_up_again() -> None:
    asked = RunSpec(lab="server", model="m", workload=Hold(), mode="server", server=Server(name="a b"))
    assert again(asked, "gpu1", "r1") == ["labctl up runs/r1/spec.json", "--host gpu1", "--name 'a b'"]
    exposed = RunSpec(lab="server", model="m", workload=Hold(), mode="server", server=Server(address="10.0.0.1"))
    assert again(exposed, "gpu1", "r1")[-1] == "--expose 10.0.0.1"


def test_a_span_names_its_hosts_and_their_addresses() -> None:
    span = Span(hosts=("gpu1", "gpu2"), addresses=("10.0.0.1", "10.0.0.2"), runs=("r1", "r2"))
    work = Requests(requests=({"text": "x"},))
    asked = RunSpec(lab="server", model="m", workload=work, mode="server", server=Server(), span=span)
    assert again(asked, "gpu1", "r1") == [
        "labctl run runs/r1/spec.json", "--span gpu1,gpu2", "--span-address gpu1=10.0.0.1,gpu2=10.0.0.2",
    ]  # fmt: skip
