"""Facts out of a saved file, in each form that it may have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from labctl.doctor import looking
from labctl.errors import CouldNotCheckError
from tests.unit.test_doctor import PLAIN

if TYPE_CHECKING:
    from pathlib import Path


def test_saved_facts_in_each_form(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(PLAIN))
    assert looking.saved(file) == [("box", PLAIN)]
    file.write_text(json.dumps({"host": "gpu1", "failures": [], "facts": PLAIN}))
    assert looking.saved(file) == [("gpu1", PLAIN)]
    file.write_text(json.dumps([{"host": "a", "facts": PLAIN}, {"host": "b", "facts": PLAIN}]))
    assert [name for name, _ in looking.saved(file)] == ["a", "b"]


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", "{}", "3", '{"facts": 1}', '{"hostname": "x"}', "[1]", "[" * 100_000]
)
def test_files_that_hold_no_facts(tmp_path: Path, text: str) -> None:
    file = tmp_path / "facts.json"
    file.write_text(text)
    with pytest.raises(CouldNotCheckError, match=r"facts\.json"):
        looking.saved(file)
    with pytest.raises(CouldNotCheckError, match="cannot be read"):
        looking.saved(tmp_path / "absent")


@pytest.mark.parametrize("name", ["x/../../trav", "x; rm -rf ~", "-e", "$(id)", "a\nb", "..", ""])
def test_a_name_that_is_no_plain_one_is_not_taken(tmp_path: Path, name: str) -> None:
    file = tmp_path / "facts.json"
    for held in ({**PLAIN, "hostname": name}, {"host": name, "facts": PLAIN}):
        file.write_text(json.dumps(held))
        assert [found for found, _ in looking.saved(file)] == ["HOST"]
