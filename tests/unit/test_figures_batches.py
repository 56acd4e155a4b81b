"""Figures over batch sizes, from the passes of a real H100 and from made-up ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labctl.runner import figures, rundir, spec
from labctl.runner.figures import taints

CAPTURE = Path(__file__).parents[1] / "data" / "runs" / "h100-offline-opt-125m-converted" / "bench" / "batches.json"
JIT = (
    "{t:10.3f} (EngineCore pid=907) WARNING 11-22 14:45:27 [jit_monitor.py:129] Triton kernel JIT compilation "
    "during inference: _topk_topp_kernel. This causes a latency spike; consider extending warmup\n"
)


class Passes:
    """Events of passes, ten seconds apart."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, phase: str, size: int, seconds: float, tokens: int = 100, **told: Any) -> float:
        """One pass of ``size`` requests of ``tokens`` each; the moment in the middle of it."""
        t, place = 10.0 * len(self.rows), {"size": size, "number": len(self.rows) // 2}
        self.rows.append({"t": t, "event": "begin", "phase": phase, **place})
        end = {"seconds": seconds, "output_tokens": size * tokens, "sequences": size, "prompt_tokens": 8 * size}
        self.rows.append({"t": t + seconds, "event": "end", "phase": phase, **place, **end, **told})
        return t + seconds / 2

    def figures(self, run_dir: Path, log: str = "") -> dict[str, dict[str, Any]]:
        (run_dir / "logs").mkdir(exist_ok=True)
        (run_dir / rundir.EVENTS).write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        (run_dir / rundir.ENGINE_LOG).write_text(log)
        return figures.compute(run_dir)


@pytest.fixture
def made() -> Passes:
    """Sizes 1 and 8: the tutorial's loop first, then a warm-up and three repeats each."""
    run = Passes()
    for size in (1, 8):
        run.add("tutorial", size, 4.0)
    for size in (1, 8):
        for phase, seconds in (("warmup", 2.0), ("generate", 1.0), ("generate", 0.5), ("generate", 2.0)):
            run.add(phase, size, seconds)
    return run


def test_the_first_pass_of_a_real_h100_at_batch_8(tmp_path: Path) -> None:
    run = Passes()
    for one in json.loads(CAPTURE.read_text())["runs"]:
        run.add("generate" if one["rep"] else "warmup", one["bs"], one["s"], one["tokens"] // one["bs"])
    found = run.figures(tmp_path)
    assert found["first_pass_b8"]["value"] == pytest.approx(204, abs=1)
    assert found["throughput_b8"]["low"] == pytest.approx(3131, abs=1)
    assert found["throughput_b8"]["value"] == pytest.approx(3146, abs=1)
    assert found["throughput_b16"]["value"] == pytest.approx(4954, abs=1)
    assert found["throughput"]["value"] == found["throughput_b256"]["value"] == pytest.approx(28056, abs=1)


def test_each_size_has_its_own_median_and_spread(made: Passes, tmp_path: Path) -> None:
    found = made.figures(tmp_path)
    one, eight = found["throughput_b1"], found["throughput_b8"]
    assert (one["value"], one["low"], one["high"], one["n"]) == (100.0, 50.0, 200.0, 3)
    assert (eight["value"], eight["low"], eight["high"]) == (800.0, 400.0, 1600.0)
    assert eight["sources"] == ["events.jsonl:16", "events.jsonl:18", "events.jsonl:20"]
    assert found["token_latency_b8"]["value"] == 0.01


def test_what_the_tutorial_would_have_shown_stands_apart(made: Passes, tmp_path: Path) -> None:
    found = made.figures(tmp_path)
    assert (found["tutorial_b8"]["value"], found["first_pass_b8"]["value"]) == (200.0, 400.0)
    assert found["warm_over_tutorial_b8"]["value"] == 4.0
    # Compiling is not all that the loop's figure holds.
    assert "may end early (end of sequence), and repeats one prompt" in found["warm_over_tutorial_b8"]["note"]
    assert found["first_pass_throughput"]["value"] == 200.0, "the first pass of this shape was the tutorial's"


def test_the_whole_runs_throughput_is_the_largest_sizes(made: Passes, tmp_path: Path) -> None:
    found = made.figures(tmp_path)
    assert found["throughput"]["value"] == found["throughput_b8"]["value"]
    assert "batch size 8" in found["throughput"]["note"]


def test_without_the_tutorials_loop_nothing_is_said_of_it(tmp_path: Path) -> None:
    run = Passes()
    run.add("generate", 4, 1.0)
    found = run.figures(tmp_path)
    assert found["throughput_b4"]["value"] == 400.0
    assert not [name for name in found if name.startswith(("tutorial", "warm_over", "first_pass_b"))]


def test_a_tainted_repeat_costs_its_own_size_alone(made: Passes, tmp_path: Path) -> None:
    during = made.rows[10]["t"] + 0.1  # the last repeat of size 1: begun at 100 s
    assert made.rows[10]["size"] == 1
    found = made.figures(tmp_path, JIT.format(t=during))
    assert (found["tainted_b1"]["value"], found["tainted_b8"]["value"], found["tainted_passes"]["value"]) == (1, 0, 1)
    assert found["throughput_b1"]["n"] == 2
    assert "left out: pass 5: vLLM compiled _topk_topp_kernel" in found["throughput_b1"]["note"]
    assert found["throughput_b8"]["n"] == 3


def test_a_kernel_compiled_in_the_tutorials_loop_is_named_there(made: Passes, tmp_path: Path) -> None:
    found = made.figures(tmp_path, JIT.format(t=made.rows[2]["t"] + 1))
    assert "_topk_topp_kernel" in found["tutorial_b8"]["note"]
    assert (found["tainted_passes"]["value"], found["throughput_b8"]["n"]) == (0, 3)


def test_a_repeat_on_a_warm_prefix_cache_is_left_out(tmp_path: Path) -> None:
    run = Passes()
    run.add("generate", 4, 1.0, cached_tokens=0, prefix_cache_reset=True)
    run.add("generate", 4, 0.1, cached_tokens=64, prefix_cache_reset=False)
    found = run.figures(tmp_path)
    assert (found["throughput_b4"]["value"], found["tainted_b4"]["value"]) == (400.0, 1)


def test_requests_of_tainted_passes_and_of_other_sizes_are_not_mixed_in(made: Passes, tmp_path: Path) -> None:
    rows = [
        {"phase": "tutorial", "size": 8, "pass": 1, "warmup": True, "ttft_s": 9.0, "latency_s": 9.0},
        {"phase": "generate", "size": 1, "pass": 3, "warmup": False, "ttft_s": 0.1, "latency_s": 1.0},
        {"phase": "generate", "size": 8, "pass": 7, "warmup": False, "ttft_s": 0.3, "latency_s": 3.0},
        {"phase": "generate", "size": 8, "pass": 8, "warmup": False, "ttft_s": 0.5, "latency_s": 5.0},
    ]
    (tmp_path / rundir.REQUESTS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = made.figures(tmp_path, JIT.format(t=made.rows[16]["t"] + 0.1))
    assert made.rows[16]["number"] == 8
    assert (found["ttft_b1"]["value"], found["ttft_b8"]["value"]) == (0.1, 0.3)
    assert (found["ttft"]["value"], found["latency"]["value"]) == (0.3, 3.0), "of the largest size"
    assert found["ttft_b8"]["sources"] == ["requests.jsonl:3-3"]


def test_several_texts_a_request_are_several_sequences(tmp_path: Path) -> None:
    run = Passes()
    run.add("generate", 2, 1.0, tokens=200, sequences=4)
    assert run.figures(tmp_path)["token_latency_b2"]["value"] == 0.01


@pytest.mark.parametrize(("places", "value"), [(16, 0.08), (4, 0.02), (1, 0.005), (None, 0.08)])
def test_waiting_for_a_place_is_no_time_between_two_tokens(tmp_path: Path, places: int | None, value: float) -> None:
    run = Passes()
    run.add("generate", 16, 8.0)
    run.rows.insert(0, {"t": 0.0, "event": "resolved", "max_num_seqs": places})
    figure = run.figures(tmp_path)["token_latency_b16"]
    assert figure["value"] == value
    assert ("waves" in figure["note"]) == (value < 0.08)


def test_where_nothing_was_left_out_it_is_said_what_can_be_seen(made: Passes, tmp_path: Path) -> None:
    found = made.figures(tmp_path)["tainted_passes"]
    assert (found["value"], found["note"]) == (0, taints.BLIND)
    seen = made.figures(tmp_path, JIT.format(t=made.rows[10]["t"] + 0.1))["tainted_passes"]
    assert (seen["value"], taints.BLIND in seen["note"]) == (1, False)


def test_a_run_over_prompts_has_no_sizes(tmp_path: Path) -> None:
    rows = [
        {"t": 1.0, "event": "begin", "phase": "generate", "number": 0},
        {"t": 2.0, "event": "end", "phase": "generate", "number": 0, "seconds": 1.0, "output_tokens": 7},
    ]
    run = Passes()
    run.rows = rows
    found = run.figures(tmp_path)
    assert found["throughput"]["value"] == 7.0
    assert not [name for name in found if "_b" in name and name.rsplit("_b", 1)[1].isdigit()]


@pytest.mark.parametrize("size", [0, -1, True, "8", None, 1.5])
def test_a_size_that_is_none_gives_no_figure(tmp_path: Path, size: object) -> None:
    run = Passes()
    run.add("generate", 1, 1.0)
    run.rows = [{**row, "size": size} for row in run.rows]
    assert run.figures(tmp_path)["throughput"]["value"] is None


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ({"sizes": []}, "no batch sizes"),
        ({"sizes": [1, 0]}, "a batch size must be a whole number of at least 1"),
        ({"sizes": [1, 4, 1]}, "named twice"),
        ({"sizes": [1.5]}, "a batch size must be a whole number"),
        ({"prompt": " "}, "workload.prompt is empty"),
        ({"repeats": 0}, "repeats"),
    ],
)
def test_what_cannot_be_run_never_leaves_the_laptop(work: dict[str, Any], said: str) -> None:
    with pytest.raises(spec.SpecError, match=said):
        spec.from_dict({"lab": "bench", "model": "m", "workload": {"kind": "batches", **work}})
