"""What the terminal says of each kind of run: within 80 columns, without control codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from labctl.cli import app
from labctl.report import excerpts, load
from tests.unit.report import made_runs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[Path], Path]


def shown(run: Path) -> str:
    result = CliRunner().invoke(app, ["show", str(run)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("make", made_runs.KINDS, ids=lambda make: make.__name__)
def test_every_kind_fits_80_columns(tmp_path: Path, make: Make) -> None:
    run = make(tmp_path / "run")
    head = shown(run).partition("\nfigure ")[0]
    own = head.partition("\n\n")[0].splitlines()
    assert [line for line in own if len(line) > 80 and not line.startswith(("model: ", "started anew"))] == []


def test_calls_with_their_status_and_answers(tmp_path: Path) -> None:
    said = shown(made_runs.server(tmp_path / "run"))
    assert "2 chat        400" in said
    assert "HTTP 400 is what the tutorial runs into: the model has no chat template" in said
    assert "PagedAttention is <b>" in said


def test_a_line_a_batch(tmp_path: Path) -> None:
    said = shown(made_runs.batches(tmp_path / "run"))
    assert "8      1,197   1,197 - 1,198     70.16" in said


def test_a_line_a_load(tmp_path: Path) -> None:
    assert "128 at once  7,274  504.3    904.3" in shown(made_runs.serve_bench(tmp_path / "run"))


def test_ratios_in_words(tmp_path: Path) -> None:
    assert "One after another: 2.86 times the mean latency" in shown(made_runs.batching(tmp_path / "run"))


def test_a_ratio_is_said_to_be_measured_once_and_one_that_is_none_why(tmp_path: Path) -> None:
    told = {"value": None, "unit": "x", "note": "throughput, continuous / alone; requests failed"}
    said = shown(made_runs.batching(tmp_path / "run", metrics={"ratio_alone": told}))
    assert "Not compared: throughput, continuous / alone; requests failed" in said
    assert "measured once" in said


def test_restarts_of_a_kept_server(tmp_path: Path) -> None:
    said = shown(made_runs.hold(tmp_path / "run"))
    assert "server: healthy on 10.0.0.5:8000, vLLM 0.32.0" in said
    assert "started anew (1 of 3): vllm serve ended" in said


def test_the_first_text_of_prompts_on_one_line(tmp_path: Path) -> None:
    rows = [
        {"pass": 0, "warmup": True, "prompt": "warm", "output": "no"},
        {"pass": 1, "warmup": False, "prompt": "Hello, my name is", "output": " Joel,\nmy dad" + " x" * 200},
    ]
    files: dict[str, str | bytes] = {"outputs.jsonl": made_runs.lines(rows)}
    run = made_runs.make(tmp_path / "run", {"prompts": ["Hello, my name is"]}, files)
    text = excerpts.first_text(load.read(run))
    assert text.startswith("first text: Hello, my name is → Joel, my dad x x")
    assert len(text) <= excerpts.WIDTH
    assert excerpts.texts(load.read(run))[0].startswith("Hello, my name is\n    Joel, my dad")


def test_the_text_of_random_weights_is_called_noise(tmp_path: Path) -> None:
    rows = [{"pass": 1, "warmup": False, "prompt": "a", "output": "b"}]
    files: dict[str, str | bytes] = {"outputs.jsonl": made_runs.lines(rows)}
    run = made_runs.make(tmp_path / "run", {"prompts": ["a"]}, files, model={"synthetic": True})
    assert excerpts.first_text(load.read(run)) == "first text (random weights: noise): a → b"


def test_texts_are_capped(tmp_path: Path) -> None:
    rows = [{"pass": 1, "warmup": False, "prompt": str(n), "output": "o"} for n in range(30)]
    files: dict[str, str | bytes] = {"outputs.jsonl": made_runs.lines(rows)}
    found = excerpts.texts(load.read(made_runs.make(tmp_path / "run", {"prompts": ["a"]}, files)))
    assert len(found) == excerpts.TEXTS + 1
    assert found[-1] == "18 more"


def test_the_host_that_brought_a_span_down(tmp_path: Path) -> None:
    said = shown(made_runs.span(tmp_path / "run"))
    assert "hosts: gpu1, gpu2\ngpu2 failed: killed by signal 9" in said


def test_a_kept_server_that_was_stopped_did_not_fail(tmp_path: Path) -> None:
    error = {"kind": "stopped", "phase": "shutdown", "message": "stopped on request"}
    said = shown(made_runs.hold(tmp_path / "run", status="stopped", error=error))
    assert "as it should be" in said
    assert "error in" not in said
