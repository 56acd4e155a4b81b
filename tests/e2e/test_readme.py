"""What the README tells a newcomer to type works, in both languages."""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import TYPE_CHECKING

import pytest

from labctl import errors, labs
from tests.e2e.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Project

NAMES = ("README.md", "README.zh-CN.md")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands(name: str) -> list[list[str]]:
    blocks = re.findall(r"```console\n(.*?)```", text(name), re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [shlex.split(line) for line in lines]


# What starts a server or a benchmark is typed, shorter and eager, by the tests of that part.
ELSEWHERE = {
    "run server": "test_server.py", "up server": "test_up.py", "ps": "test_up.py", "ask": "test_up.py",
    "down": "test_up.py", "run bench": "test_bench.py", "run bench-serve": "test_bench_serve.py",
    "run batching": "test_batching.py", "params": "test_params.py",
}  # fmt: skip


def served(words: list[str]) -> str | None:
    """The key in ELSEWHERE of a command of the section "Serve and measure"."""
    return next((key for key in ELSEWHERE if words[: len(key.split())] == key.split()), None)


def test_what_serves_and_measures_is_typed_by_its_own_tests(project: Project) -> None:
    lines = [words[1:] for words in commands("README.md") if words[0] == "labctl"]
    assert {served(words) for words in lines} - {None} == set(ELSEWHERE)
    for key, module in ELSEWHERE.items():
        words = ", ".join(f'"{word}"' for word in key.split())
        typed = re.escape(words)
        assert re.search(rf"project(\.start)?\({typed}", (ROOT / "tests" / "e2e" / module).read_text("utf-8")), key
    # A ready study: typed whole it takes minutes; its points are shown without an engine.
    [study] = [words for words in lines if words[:1] == ["run"] and words[1].startswith("vary-")]
    assert project(*study, "--dry-run").count("max_num_seqs=") == 3


def test_the_commands_of_the_readme_run(project: Project) -> None:
    # Those about another machine are typed in tests/hosts/test_engine.py, where there is one.
    lines = [words[1:] for words in commands("README.md") if words[0] == "labctl" and "gpu1" not in words]
    typed = [words for words in lines if not served(words) and not words[-1].startswith("vary-")]
    assert [words[0] for words in typed] == ["labs", "doctor", "run", "runs", "show", "verify"]
    for words in typed:
        project(*words)


def test_its_make_targets_exist() -> None:
    makefile = text("Makefile")
    for name in NAMES:
        for target in set(re.findall(r"make ([a-z-]+)`", text(name))) | {"demo"}:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("name", NAMES)
def test_its_lab_is_a_lab(name: str, tmp_path: Path) -> None:
    [sample] = re.findall(r"```toml\n(.*?)```", text(name), re.DOTALL)
    (tmp_path / "mine.toml").write_text(sample, encoding="utf-8")
    asked = labs.build(labs.read(str(tmp_path / "mine.toml")), vllm="0.32.0", env={})
    assert asked.engine == tomllib.loads(sample)["engine"]


@pytest.mark.parametrize("name", NAMES)
def test_every_exit_code_is_listed(name: str) -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", text(name), re.MULTILINE)}
    made = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    assert listed == made | {errors.EXIT_OK, errors.EXIT_RUN_FAILED, errors.EXIT_IO, errors.EXIT_DETACHED}


def test_the_twin_types_the_same_commands() -> None:
    english, chinese = ([words[:2] for words in commands(name)] for name in NAMES)
    assert english == chinese
