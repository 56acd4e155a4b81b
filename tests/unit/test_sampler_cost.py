"""The pairs of the benchmark `sampler`, and its check that the sampler really stood still."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import sampler_pairs
from tests.benchmarks.sampler_cost import asked_for
from tests.benchmarks.sampler_pairs import Pass


def measured(switches: dict[int, float] | None = None, taint: str = "") -> list[Pass]:
    """Eight passes of a second each, half a second apart; a switch comes at its border unless ``switches`` says."""
    made = []
    for number in range(8):
        began, on = 10 + 1.5 * number, sampler_pairs.sampled(number)
        changed = number > 0 and on != sampler_pairs.sampled(number - 1)
        switched = (switches or {}).get(number, began - 0.4) if changed else None
        made.append(Pass(began, began + 1, 100.0 + number, on, switched))
    return [one._replace(taint=taint) if number == 5 else one for number, one in enumerate(made)]


def samples(passes: list[Pass]) -> list[float]:
    """What a sampler at 5 Hz leaves that does as it was told."""
    times, on, switches = [], True, {one.switched: one.sampled for one in passes if one.switched is not None}
    for tick in range(40 * 5):
        t = tick / 5
        on = next((switches[at] for at in sorted(switches, reverse=True) if at <= t), True)
        times += [t] if on else []
    return times


def test_which_one_comes_first_changes_from_pair_to_pair() -> None:
    order = [sampler_pairs.sampled(number) for number in range(8)]
    assert order == [True, False, False, True, True, False, False, True]
    assert sampler_pairs.pairs(measured()) == [(100, 101), (103, 102), (104, 105), (107, 106)]
    assert sampler_pairs.dropped(measured()) == []


def test_a_pass_whose_switch_came_late_goes_with_its_pair() -> None:
    passes = measured({1: 11.5 + 0.04, 3: 14.5 + 0.06})
    assert [round(one.late, 2) for one in passes] == [0, 0.04, 0, 0.06, 0, 0, 0, 0]
    assert sampler_pairs.pairs(passes) == [(100, 101), (104, 105), (107, 106)]
    assert sampler_pairs.dropped(passes) == ["1 of 8 passes: the switch came more than 5% late"]


def test_a_pass_during_which_a_kernel_was_compiled_goes_with_its_pair() -> None:
    passes = measured(taint="vLLM compiled _topk_topp_kernel meanwhile")
    assert sampler_pairs.pairs(passes) == [(100, 101), (103, 102), (107, 106)]
    assert sampler_pairs.dropped(passes) == ["pass 5: vLLM compiled _topk_topp_kernel meanwhile"]


def test_an_odd_pass_is_no_pair() -> None:
    assert len(sampler_pairs.pairs(measured()[:7])) == 3


def test_a_sampler_that_did_as_it_was_told_is_no_fault() -> None:
    passes = measured()
    assert sampler_pairs.faults(passes, samples(passes), 5) == []


def test_a_sampler_that_is_back_in_the_millisecond_of_the_end_is_no_fault() -> None:
    passes = measured()
    at_the_end = [one.ended for one in passes if not one.sampled]
    assert sampler_pairs.faults(passes, sorted([*samples(passes), *at_the_end]), 5) == []
    before_it = [t - 0.001 for t in at_the_end]
    assert len(sampler_pairs.faults(passes, sorted([*samples(passes), *before_it]), 5)) == 4


def test_a_sampler_that_was_never_stopped_is_found() -> None:
    found = sampler_pairs.faults(measured(), [tick / 5 for tick in range(200)], 5)
    assert [text.split(",")[0] for text in found] == [
        f"pass {number} was to be without the sampler" for number in (1, 2, 5, 6)
    ]


def test_a_sampler_that_never_came_back_is_found() -> None:
    passes = measured()
    found = sampler_pairs.faults(passes, [t for t in samples(passes) if t < 11], 5)
    assert found[0] == "pass 3 was to be sampled at 5 Hz, and has 0 samples in 1.00 s"
    assert found[-1] == "all passes with the sampler have 4 samples; 10 would be half of them"


def test_passes_too_short_for_a_sample_each_are_looked_at_together() -> None:
    passes = [Pass(10 + number, 10.3 + number, 1, sampled=True) for number in range(20)]
    assert sampler_pairs.faults(passes, [one.began + 0.1 for one in passes], 5) == []
    found = sampler_pairs.faults(passes, [one.began + 0.1 for one in passes[:4]], 5)
    assert found == ["all passes with the sampler have 4 samples; 15 would be half of them"]


def test_a_dropped_pass_is_no_fault() -> None:
    passes = measured({1: 12.3})
    assert passes[1].late == pytest.approx(0.8)
    assert sampler_pairs.faults(passes, samples(passes), 5) == []


def test_words_behind_two_dashes_go_to_labctl() -> None:
    words = ["--labctl", "labctl", "--lab-dir", "lab", "--repeats", "8", "--json", "out.json", "--", "--max-tokens"]
    asked, file = asked_for([*words, "4"])
    shape = ["--workload", "repeats=8", "--workload", "warmup=2", "--workload", "tutorial=false"]
    assert asked.command() == ["labctl", "run", "bench", "--batch-sizes", "16", *shape, "--max-tokens", "4"]
    assert (asked.lab_dir, file) == (Path("lab"), Path("out.json"))
