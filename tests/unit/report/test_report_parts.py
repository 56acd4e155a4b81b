"""Cards, curves, outputs and environment from odd records."""

from __future__ import annotations

from typing import Any

from labctl.report import cards, curves, environment, outputs


def test_a_card_shows_value_spread_note_and_its_source() -> None:
    metrics = {
        "throughput": {
            "value": 44.25, "unit": "tok/s", "low": 42.0, "high": 46.5, "n": 3, "note": "median",
            "sources": ["events.jsonl:17", "elsewhere.txt:1"],
        }
    }  # fmt: skip
    shown, absent = cards.cards(metrics, {"events.jsonl": "artifact-2"})
    figure = shown[0].main
    assert (figure.value, figure.unit, figure.spread) == ("44.25", "tok/s", "42 \u2013 46.50 tok/s, n = 3")
    assert [source.anchor for source in figure.sources] == ["artifact-2", None]
    assert "KV cache" in absent


def test_a_null_is_a_dash_with_its_note_and_an_absent_main_says_so() -> None:
    shown, _ = cards.cards({"kv_blocks": {"value": None, "note": "no gauge"}}, {})
    assert (shown[0].main.value, shown[0].main.note) == ("—", "not recorded")
    assert shown[0].beside == ()
    shown, _ = cards.cards({"kv_tokens": {"value": None, "note": "no gauge"}}, {})
    assert (shown[0].main.value, shown[0].main.note) == ("—", "no gauge")


def test_a_figure_of_any_type_is_shown_as_text_or_not_at_all() -> None:
    for value in (float("nan"), 10**400, None):
        assert not cards.figure("x", {"value": value, "unit": "s"}, {}).known
    assert cards.figure("x", {"value": "warm", "unit": 5, "sources": "a:1"}, {}).value == "warm"
    assert cards.figure("x", {"value": {"a": 1}, "sources": 3}, {}).value == '{"a": 1}'
    assert cards.figure("x", {"value": 0.133, "unit": "s"}, {}).unit == "ms"
    assert cards.figure("x", {"value": 1, "sources": list(range(9))}, {}).more_sources == 5


def test_a_spread_over_two_units_names_both() -> None:
    metric = {"value": 0.6, "low": 0.4, "high": 0.9, "unit": "s"}
    assert cards.figure("x", metric, {}).spread == "400 ms \u2013 0.90 s"


def test_unknown_figures_are_listed() -> None:
    assert [figure.label for figure in cards.others({"new": {"value": 1}, "ttft": {}}, {})] == ["new"]


def test_spans_keep_what_can_be_drawn() -> None:
    phases = [
        {"name": "weights", "start": 1, "seconds": 2.0},
        {"name": "läd\x1b[1mt", "start": 3.5, "seconds": None},
        {"name": "x", "start": "1", "seconds": 2},
        {"name": "x", "start": 1, "seconds": -2},
        {"name": "x", "start": 1e300, "seconds": 1},
    ]
    assert curves.spans(phases) == [("weights", 1.0, 2.0), ("l?dt", 3.5, None)]


def test_several_gpus_are_several_curves_and_the_machine_one() -> None:
    rows = [
        {
            "t": float(t), "gpu": gpu, "gpu_mem_used": 2.0**31, "gpu_mem_total": None, "gpu_util": 50.0,
            "rss": 2.0**30, "cpu": 99.0, "mem_available": None,
        }
        for t in range(3)
        for gpu in ("0", "1", "<b>")
    ]  # fmt: skip
    found = {curve.label: curve.points for curve in curves.memory_curves(rows)}
    assert list(found) == ["GPU 0 used", "GPU 1 used", "memory of the run (RSS)"]
    assert found["memory of the run (RSS)"] == [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)]


def test_a_long_curve_keeps_its_peak() -> None:
    rows = [{"t": float(t), "gpu": "", "rss": 2.0**30, "mem_available": None} for t in range(10_000)]
    rows[7777]["rss"] = 2.0**33
    (curve,) = curves.memory_curves(rows)
    assert len(curve.points) <= curves.POINTS
    assert max(curve.points, key=lambda point: point[1]) == (7777.0, 8.0)


def test_outputs_are_joined_with_their_requests() -> None:
    rows: list[dict[str, Any]] = [
        {"pass": 0, "warmup": True, "request": 0, "prompt": "p", "output": "o"},
        {"pass": 1, "warmup": False, "request": 0, "prompt": "p", "output": None, "finish_reason": "length"},
        {"pass": ["x"], "request": {"a": 1}},
    ]
    found = outputs.passes(rows, [{"pass": 1, "request": 0, "latency_s": 2.5, "ttft_s": None}])
    assert [item.title for item in found[:2]] == ["Pass 0 (warm-up, not counted)", "Pass 1 (measured)"]
    assert [item.full for item in found] == [False, True, False]
    assert found[1].requests[0].output is None
    assert found[1].requests[0].facts == (("finished by", "length"), ("latency", "2.50 s"))


def test_machine_facts_of_any_shape() -> None:
    machine = {
        "os": {"name": "Debian"},
        "cores": 2,
        "gpus": [{"name": "H100"}],
        "flags": ["a", "b"],
        "none": {},
    }
    assert environment.groups(machine) == [
        ("general", [("cores", "2"), ("flags", "a, b"), ("none", "none")]),
        ("os", [("name", "Debian")]),
        ("gpus", [("0.name", "H100")]),
    ]
    assert environment.groups("text") == []
    assert environment.groups({"memory": {"total_bytes": 2**30}}) == [
        ("memory", [("total_bytes", "1 GiB (1,073,741,824)")])
    ]
    assert len(environment.groups({"x": {str(n): n for n in range(5000)}})[-1][1]) == environment.FACTS


def test_packages_of_any_shape() -> None:
    assert environment.node({"packages": ["vllm"]})["packages"] == []
    node = environment.node({"packages": {"zlib": None, "vllm": "0.32.0"}})
    assert node["key_packages"] == [("vllm", "0.32.0")]
    assert node["packages"] == [("vllm", "0.32.0"), ("zlib", "")]
