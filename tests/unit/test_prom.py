from __future__ import annotations

from pathlib import Path

from labctl.runner import prom

CAPTURE = Path(__file__).parents[1] / "data" / "h100-vllm-0.25.1" / "metrics-qwen2.5-7b.prom"


def test_the_cache_config_of_a_real_h100() -> None:
    info = next(s for s in prom.samples(CAPTURE.read_text()) if s.name == "vllm:cache_config_info")
    assert (info.labels["num_gpu_blocks"], info.labels["block_size"]) == ("66946", "16")
    assert CAPTURE.read_text().splitlines()[info.line - 1].startswith("vllm:cache_config_info{")


def test_lines_that_are_none_are_passed_over() -> None:
    text = '# HELP x y\nx 1\nbroken{ 2\ny{a="b\\"c",d="e"} 2.5e3\nz notanumber\n'
    assert [(s.name, s.labels, s.value) for s in prom.samples(text)] == [
        ("x", {}, 1.0),
        ("y", {"a": 'b\\"c', "d": "e"}, 2500.0),
    ]


def test_a_counter_is_summed_over_the_engines_and_points_to_its_line() -> None:
    text = '# TYPE a counter\na_total{engine="0"} 3\na_total{engine="1"} 4\na_created{engine="0"} 9\na_bucket 100\n'
    assert prom.total(list(prom.samples(text)), "a") == (7.0, 2)
    assert prom.greatest(list(prom.samples(text)), "a") == (4.0, 3)
    assert prom.total(list(prom.samples(text)), "b") is None


def test_counters_of_a_real_h100() -> None:
    read = list(prom.samples(CAPTURE.read_text()))
    queries, hits = prom.total(read, "vllm:prefix_cache_queries"), prom.total(read, "vllm:prefix_cache_hits")
    assert queries is not None
    assert hits is not None
    assert 0 < hits.value < queries.value
    running, usage = prom.total(read, "vllm:num_requests_running"), prom.greatest(read, "vllm:kv_cache_usage_perc")
    assert running is not None
    assert usage is not None
    assert (running.value, usage.value) == (0.0, 0.0)
