from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from labctl.commands.variables import extra
from labctl.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("vllm_version=0.25.1", {"vllm_version": "0.25.1"}),
        ("vllm_python=3.10", {"vllm_python": "3.10"}),
        ("vllm_without=[tilelang, torchcodec]", {"vllm_without": ["tilelang", "torchcodec"]}),
        ("{reset_runs: true}", {"reset_runs": True}),
        ("ansible_become_user=root", {"ansible_become_user": "root"}),
    ],
)
def test_values_are_typed_as_yaml(word: str, values: dict[str, Any]) -> None:
    assert extra([word]) == values


def test_a_file_of_variables(tmp_path: Path) -> None:
    (tmp_path / "more.yml").write_text("gpu_driver_branch: 580\n", encoding="utf-8")
    assert extra([f"@{tmp_path / 'more.yml'}", "gpu_driver_branch=590"]) == {"gpu_driver_branch": 590}


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("vlm_version=0.19.1", "no role takes a variable 'vlm_version'; nearest: vllm_version"),
        ("lab_dir=/x", "written in the inventory"),
        ("nonsense", "no NAME=VALUE"),
        ("vllm_without=[", "--extra-vars vllm_without="),
        ("@/no/such/file", "No such file"),
    ],
)
def test_what_no_role_takes_is_refused(word: str, why: str) -> None:
    with pytest.raises(UsageError) as error:
        extra([word])
    assert why in str(error.value)
