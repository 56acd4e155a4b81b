"""Facts of strange hosts, or out of a file that somebody edited: a verdict on each check, never a crash."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from labctl import doctor
from tests.unit.test_doctor import PLAIN, WITH_GPU

ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ODDER = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def paths(facts: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps = facts.items() if isinstance(facts, dict) else enumerate(facts) if isinstance(facts, list) else ()
    return [(*here, key) for key, _ in steps] + [one for key, value in steps for one in paths(value, (*here, key))]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([PLAIN, WITH_GPU]), st.data())
def test_mangled_facts_are_no_crash(base: dict[str, Any], data: st.DataObject) -> None:
    facts = deepcopy(base)
    for path in data.draw(st.lists(st.sampled_from(paths(base)), min_size=1, max_size=4)):
        place: Any = facts
        for step in path[:-1]:
            place = place[step] if isinstance(place, (dict, list)) and _has(place, step) else None
        if isinstance(place, dict):
            place[path[-1]] = data.draw(ODDER)
    told = doctor.judge(facts, "x")
    assert {check["level"] for check in told["checks"]} <= {"ok", "warn", "fail"}
    assert all(isinstance(check["meaning"], str) and isinstance(check["fix"], str) for check in told["checks"])


def _has(place: Any, step: Any) -> bool:
    return step in place if isinstance(place, dict) else isinstance(step, int) and step < len(place)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(PLAIN)) | st.text(max_size=5), ODDER, max_size=6))
@example({})
def test_strange_facts_are_no_crash(facts: dict[str, Any]) -> None:
    assert doctor.judge(facts, "x")["checks"]
