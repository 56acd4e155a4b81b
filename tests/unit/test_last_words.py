from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from labctl.runner import last_words, rundir

if TYPE_CHECKING:
    from pathlib import Path


# Lines of real starts of vLLM 0.32.0 on CPU that failed.
ARGPARSE = [
    "     7.100 usage: vllm serve [model_tag] [options]",
    "     7.101 vllm serve: error: unrecognized arguments: --no-such-flag=1",
]
ENGINE = [
    "    30.100 (EngineCore pid=9) ERROR 11-23 03:04:43 [core.py:1201] Traceback (most recent call last):",
    '    30.100 (EngineCore pid=9) ERROR 11-23 03:04:43 [core.py:1201]   File "core.py", line 1, in run',
    "    30.100 (EngineCore pid=9) ERROR 11-23 03:04:43 [core.py:1201] ValueError: No available memory for the blocks.",
    "    30.200 (APIServer pid=5) Traceback (most recent call last):",
    "    30.200 (APIServer pid=5) RuntimeError: Engine core initialization failed. See root cause above. Failed: {}",
    "    30.300 nanobind: leaked 4 instances!",
]
PYDANTIC = [
    "    16.219 pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
    "    16.219   Value error, User-specified max_model_len (99999) is greater than 2048. [type=value_error, input...",
    "    16.219     For further information visit https://errors.pydantic.dev/2.14/v/value_error",
]
KILLED = [
    "    49.746 (APIServer pid=5) WARNING 11-23 03:21:17 [c.py:8] MPClient: engine core exited unexpectedly",
    "    49.749 (APIServer pid=5) ERROR 11-23 03:21:17 [async_llm.py:906] vllm.v1.engine.exceptions.EngineDeadError: x",
    "    49.751 INFO:     Shutting down",
]


def test_a_process_that_was_killed_is_told_of_by_another() -> None:
    assert last_words.choose(KILLED) == "MPClient: engine core exited unexpectedly"


def test_what_pydantic_says_stands_below() -> None:
    expected = "1 validation error for ModelConfig: Value error, User-specified max_model_len (99999) is greater"
    assert expected in last_words.choose(PYDANTIC)
    assert last_words.choose(PYDANTIC[:1]).endswith("for ModelConfig")
    assert "type=value_error" not in last_words.choose(PYDANTIC)


def test_the_cause_and_not_its_echo() -> None:
    assert last_words.choose(ENGINE) == "ValueError: No available memory for the blocks."


def test_what_argparse_says() -> None:
    assert last_words.choose(ARGPARSE) == "vllm serve: error: unrecognized arguments: --no-such-flag=1"


def test_an_echo_is_better_than_nothing_and_a_last_line_better_than_none() -> None:
    assert last_words.choose(ENGINE[3:]).startswith("RuntimeError: Engine core")
    assert last_words.choose(["    1.000 Killed", "", "   "]) == "Killed"
    assert last_words.choose([]) == ""


def test_only_what_was_said_since(tmp_path: Path) -> None:
    log = tmp_path / rundir.ENGINE_LOG
    log.parent.mkdir()
    log.write_text("     0.100 ValueError: of the start before\n")
    said = last_words.LastWords(tmp_path)
    assert said.line() == ""
    with log.open("a") as handle:
        handle.write("     0.200 OSError: of this one\n")
    assert said.line() == "OSError: of this one"


@given(st.lists(st.text()))
def test_any_log_gives_one_of_its_lines(lines: list[str]) -> None:
    told = last_words.choose(lines)
    assert len(told) <= 600
    assert not told or any(told in line for line in lines) or "\x1b" in "".join(lines)
