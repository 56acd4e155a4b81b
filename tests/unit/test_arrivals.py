from __future__ import annotations

import random
from pathlib import Path

import pytest

from labctl.runner import load, series
from labctl.runner.arrivals import groups, plan
from labctl.runner.workloads import Arrivals

CAPTURE = Path(__file__).parents[1] / "data" / "h100-vllm-0.25.1" / "metrics-qwen2.5-7b.prom"
WORK = Arrivals(requests=50, seconds=8.0, prompt_tokens=(8, 16), output_tokens=(32, 64))


def test_the_load_is_the_seeds_own() -> None:
    assert plan(WORK, 1) == plan(WORK, 1)
    assert plan(WORK, 1) != plan(WORK, 2)


def test_the_load_keeps_to_its_ranges_in_the_order_of_arrival() -> None:
    made = plan(WORK, 3)
    times = [one.planned_s for one in made]
    assert times == sorted(times)
    assert times[0] >= 0.0
    assert times[-1] <= 8.0
    assert {one.prompt_tokens for one in made} == set(range(8, 17)), "50 draws of 9 lengths meet each of them"
    assert {32 <= one.output_tokens <= 64 for one in made} == {True}


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("continuous", [[0], [1], [2], [3], [4]]),
        ("alone", [[0], [1], [2], [3], [4]]),
        ("static", [[0, 1], [2, 3], [4]]),
    ],
)
def test_which_requests_are_sent_together(way: str, expected: list[list[int]]) -> None:
    assert groups(way, 5, 2) == expected


def test_prompts_have_the_length_asked_for_and_plain_ids(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"vocab_size": 50272}')
    ids = load.vocabulary(str(tmp_path))
    made = load.prompt(random.Random(0), 100, ids)  # noqa: S311 - a prompt
    assert len(made) == 100
    assert min(made) >= 256
    assert max(made) < 20_000


@pytest.mark.parametrize(
    ("config", "last"),
    [('{"vocab_size": 1000}', 999), ('{"text_config": {"vocab_size": 3000}}', 2999), ("[]", 19_999), ("{", 19_999),
     ('{"vocab_size": 50}', 49), ('{"vocab_size": 1}', 1)],
)  # fmt: skip
def test_ids_stay_within_the_vocabulary_of_any_model(tmp_path: Path, config: str, last: int) -> None:
    (tmp_path / "config.json").write_text(config)
    assert load.vocabulary(str(tmp_path))[-1] == last


def test_a_row_of_the_series_from_the_metrics_of_a_real_h100() -> None:
    assert series.row(CAPTURE.read_text()) == {
        "running": 0.0, "waiting": 0.0, "kv_usage": 0.0, "prompt_tokens": 720_976.0, "output_tokens": 180_224.0,
    }  # fmt: skip


def test_metrics_that_say_nothing_are_unknown() -> None:
    assert set(series.row("").values()) == {None}
