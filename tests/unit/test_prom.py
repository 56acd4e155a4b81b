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
