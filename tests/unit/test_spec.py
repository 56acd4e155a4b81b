from __future__ import annotations

import json
from typing import Any

import pytest

from labctl.runner import spec

PLAIN: dict[str, Any] = {
    "lab": "offline",
    "model": "facebook/opt-125m",
    "workload": {"prompts": ["Hello"]},
    "schema": 1,
}


def test_a_spec_survives_the_journey() -> None:
    asked = spec.from_dict(PLAIN)
    assert spec.from_json(asked.to_json()) == asked
    assert spec.from_json(asked.to_json()).sha256() == asked.sha256()


def test_the_text_is_canonical() -> None:
    turned = {key: PLAIN[key] for key in reversed(PLAIN)}
    assert spec.from_dict(turned).to_json() == spec.from_dict(PLAIN).to_json()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"workload": {"prompts": []}}, "no prompts"),
        ({"workload": {"prompts": ["ok", "  "]}}, "prompt 2 is empty"),
        ({"workload": {"prompts": "text"}}, "list of strings"),
        ({"workload": {"prompts": ["a"], "repeats": 0}}, "repeats must be a whole number of at least 1"),
        ({"workload": {"prompts": ["a"], "kind": "sweep"}}, "workload kind 'sweep' is unknown"),
        ({"workload": {"prompts": ["a"], "promts": 1}}, "unknown key in the workload: promts"),
        ({"sampling": {"max_tokens": -1}}, "max_tokens must be at least 1, not -1"),
        ({"sampling": {"top_p": 1.5}}, "top_p must be between 0 and 1"),
        ({"sampling": {"temperature": "hot"}}, "temperature must be a number"),
        ({"mode": "sideways"}, "mode 'sideways' is unknown"),
        ({"model": " "}, "names no model"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"colour": "red"}, "unknown key in the spec: colour"),
    ],
)
def test_what_cannot_run_is_refused_in_one_sentence(change: dict[str, Any], said: str) -> None:
    with pytest.raises(spec.SpecError, match=said) as caught:
        spec.from_dict({**PLAIN, **change})
    assert "\n" not in str(caught.value)


def test_a_newer_schema_is_refused_by_name() -> None:
    with pytest.raises(spec.SpecError, match=r"schema 3.*newer labctl"):
        spec.from_json(json.dumps({**PLAIN, "schema": 3, "something": "new"}))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"spec"', '{"schema": "1"}'])
def test_broken_text_is_refused(text: str) -> None:
    with pytest.raises(spec.SpecError):
        spec.from_json(text)
