from __future__ import annotations

import argparse
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.runner import serve_args
from labctl.runner.placement import Span


def test_as_people_write_it() -> None:
    engine = {
        "model": "facebook/opt-125m", "max_model_len": 512, "enforce_eager": True, "enable_prefix_caching": False,
        "dtype": None, "gpu_memory_utilization": 0.9, "served_model_name": ["a", "b"],
        "compilation_config": {"mode": 0}, "hf_overrides": {}, "cpu_offload_params": {"b", "a"},
    }  # fmt: skip
    assert serve_args.flags(engine) == [
        "facebook/opt-125m", '--compilation-config={"mode": 0}', "--cpu-offload-params", "a", "b",
        "--no-enable-prefix-caching", "--enforce-eager", "--gpu-memory-utilization=0.9", "--hf-overrides={}",
        "--max-model-len=512", "--served-model-name", "a", "b",
    ]  # fmt: skip


def test_switches_without_a_no_twin_are_left_out() -> None:
    assert serve_args.flags({"disable_log_stats": False}) == []
    assert serve_args.flags({"disable_log_stats": True}) == ["--disable-log-stats"]


def test_a_value_that_begins_with_a_dash_is_no_flag() -> None:
    assert serve_args.flags({"revision": "--api-key=x"}) == ["--revision=--api-key=x"]


def test_a_span() -> None:
    parts = {"hosts": ("a", "b"), "addresses": ("10.0.0.1", "10.0.0.2"), "runs": ("r", "s")}
    first = serve_args.span_flags(Span(rank=0, port=4000, **parts))  # type: ignore[arg-type]
    second = serve_args.span_flags(Span(rank=1, port=4000, **parts))  # type: ignore[arg-type]
    assert first == ["--nnodes=2", "--node-rank=0", "--master-addr=10.0.0.1", "--master-port=4000"]
    assert second == ["--nnodes=2", "--node-rank=1", "--master-addr=10.0.0.1", "--master-port=4000", "--headless"]
    assert serve_args.span_flags(None) == []


# What argparse reads back is what was asked for, whatever the values: vLLM's parser has these kinds of arguments
# (vllm/engine/arg_utils.py, get_kwargs, 0.32.0).
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
words = texts.filter(lambda text: bool(text) and not text.startswith("-"))
tables = st.dictionaries(texts, st.none() | st.booleans() | st.integers() | texts)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "model": words,
    "a_text": texts,
    "a_number": st.integers(),
    "a_rate": st.floats(allow_nan=False),
    "a_switch": st.booleans(),
    "a_list": st.lists(words, min_size=1),
    "a_table": tables,
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(allow_abbrev=False)
    made.add_argument("model", nargs="?")
    made.add_argument("--a-text")
    made.add_argument("--a-number", type=int)
    made.add_argument("--a-rate", type=float)
    made.add_argument("--a-switch", action=argparse.BooleanOptionalAction)
    made.add_argument("--a-list", nargs="+")
    made.add_argument("--a-table", type=json.loads)
    return made


@given(st.fixed_dictionaries({}, optional={name: st.none() | kind for name, kind in VALUES.items()}))
def test_a_parser_reads_back_what_was_asked_for(engine: dict[str, Any]) -> None:
    got = vars(parser().parse_args(serve_args.flags(engine)))
    for name in VALUES:
        expected = engine.get(name)
        if isinstance(expected, float):
            assert math.isclose(got[name], expected) or got[name] == expected
        else:
            assert got[name] == expected


@pytest.mark.parametrize("value", [[], (), None])
def test_nothing_is_left_out(value: object) -> None:
    assert serve_args.flags({"x": value}) == []
