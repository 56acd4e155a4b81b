"""Whatever is typed behind --vary and its like: taken as it was meant, or refused in a sentence; never a crash."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from labctl import grids
from labctl.errors import UsageError
from labctl.runner.workloads import ServeBench
from tests.unit.test_overrides import BENCH_SERVE, build

PLAIN = st.text(st.characters(categories=("L", "N"), include_characters="_-./"), min_size=1)
NUMBERS = st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(NUMBERS | PLAIN, min_size=1, max_size=20, unique_by=grids.text_of))
def test_values_travel_unchanged_through_an_option(values: list[Any]) -> None:
    """What is written for each value is what the argument tables get to read."""
    texts = list(map(grids.text_of, values))
    [axis] = grids.axes({"lab": "x"}, [f"engine.k={','.join(texts)}"])
    assert list(map(grids.text_of, axis.values)) == texts


@given(st.text(max_size=40) | st.text(max_size=40).map("engine.k={}".format))
def test_any_text_is_an_axis_or_a_usage_error(text: str) -> None:
    try:
        [axis] = grids.axes({"lab": "x"}, [text])
    except UsageError:
        return
    assert axis.values
    assert all(not isinstance(value, float) or math.isfinite(value) for value in axis.values)
    json.dumps(axis.values, allow_nan=False)


@given(st.sampled_from(["concurrency", "request_rate", "server"]), st.text(min_size=1, max_size=30))
def test_any_text_is_taken_or_refused(option: str, text: str) -> None:
    try:
        asked = build(BENCH_SERVE, **{option: text})
    except UsageError:
        return
    assert isinstance(asked.workload, ServeBench)
    if option == "server":
        assert asked.workload.server == text


@given(st.lists(st.text(max_size=20), min_size=1, max_size=3))
def test_any_goodput_is_taken_or_refused(texts: list[str]) -> None:
    try:
        work = build(BENCH_SERVE, goodput=texts).workload
    except UsageError:
        return
    assert isinstance(work, ServeBench)
    assert all(0 < limit < math.inf for limit in work.goodput.values())
