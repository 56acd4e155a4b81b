"""Facts that nobody wrote so: any plan, or a sentence, and nothing else."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from labctl import plan
from tests.unit.test_plan import BARE_GPU, H100, MISMATCH, host

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["version", "kind", "x"]), inner),
    max_leaves=5,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in items for found in paths(inner, (*path, key)))]


@given(st.data())
def test_mangled_facts_end_in_a_plan_or_in_a_sentence(data: st.DataObject) -> None:
    facts = copy.deepcopy(data.draw(st.sampled_from([H100, host(), host(**BARE_GPU), host(**MISMATCH)])))
    for path in data.draw(st.lists(st.sampled_from(paths(facts)[1:]), min_size=1, max_size=4)):
        mangle(facts, path, data.draw(JSON))
    wishes = data.draw(st.fixed_dictionaries({}, optional={"vllm_version": JSON, "python_env_mode": JSON}))
    try:
        end = json.dumps(plan.make(facts, wishes)["why"]).strip('"')
    except plan.Impossible as error:
        end = str(error)
    assert end.endswith(".")
    assert plan.kind(facts)["sentence"].endswith(".")


def mangle(facts: Any, path: tuple[Any, ...], value: object) -> None:
    """Put a value at a path, unless an earlier mangling took the way there."""
    for key in path[:-1]:
        try:
            facts = facts[key]
        except (KeyError, IndexError, TypeError):
            return
    with contextlib.suppress(IndexError, TypeError):
        facts[path[-1]] = value
