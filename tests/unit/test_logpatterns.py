"""Facts from engine logs: real ones of 0.25.1 and 0.32.0, lines rendered from wheels of others, and junk."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.runner.logpatterns import PATTERNS, READ_IN_WHEELS, Fact, Pattern, match

DATA = Path(__file__).parents[1] / "data"
LOGS = {"0.25.1": DATA / "h100-vllm-0.25.1", "0.32.0": DATA / "cpu-vllm-0.32.0-logs"}
AOT = "/home/lab/.cache/vllm/torch_compile_cache/torch_aot_compile/"


def lines(folder: Path, name: str = "*.log") -> list[str]:
    return [line for path in sorted(folder.glob(name)) for line in path.read_text("utf-8").splitlines()]


def facts(folder: Path, name: str) -> dict[str, list[dict[str, float | int | str]]]:
    found: dict[str, list[dict[str, float | int | str]]] = {}
    for line in lines(folder, name):
        for fact in match(line):
            found.setdefault(fact.name, []).append(fact.fields)
    return found


def test_cold_start_on_the_h100() -> None:
    found = facts(LOGS["0.25.1"], "offline-qwen2.5-7b.log")
    assert found["engine_start"] == [{"version": "0.25.1"}]
    assert found["resolved_architecture"] == [{"arch": "Qwen2ForCausalLM"}]
    assert found["max_model_len"] == [{"tokens": 2048}]
    assert found["attention_backend"] == [{"name": "FLASH_ATTN"}]
    assert found["model_loading"] == [{"gib": 14.29, "seconds": 1.981215}]
    assert found["dynamo_time"] == [{"seconds": 6.76}]
    assert found["graph_compile"] == [{"range": "(1, 16384)", "seconds": 9.97}]
    assert found["compile_total"] == [{"seconds": 21.53}]
    assert found["profiling_run"] == [{"seconds": 0.74}]
    assert found["available_kv_memory"] == [{"gib": 54.6}]
    assert found["kv_cache_tokens"] == [{"device": "GPU", "tokens": 1_022_416}]
    assert found["kv_max_concurrency"] == [{"per_request_tokens": 2048, "concurrency": 499.23}]
    assert found["graph_capture"] == [{"seconds": 5.0, "gib": 0.89}]
    assert found["engine_init"] == [{"seconds": 47.89, "compilation_seconds": 21.53}]
    assert found["jit_during_inference"] == [{"kernel": "_topk_topp_kernel"}]
    assert {"who": "EngineCore", "what": "trigger received signal=SIGTERM"} in found["shutdown"]
    assert str(found["compile_cache_dir"][0]["path"]).endswith("/44e9409971/rank_0_0/backbone")
    assert str(found["compile_cache_saved"][0]["path"]).startswith(AOT)
    assert "compile_cache_hit" not in found


def test_warm_start_on_the_h100_says_that_the_cache_was_hit() -> None:
    graph, aot = facts(LOGS["0.25.1"], "server-qwen2.5-7b-start-warm.log")["compile_cache_hit"]
    assert graph == {"range": "(1, 8192)", "seconds": 1.169}
    assert str(aot["path"]).startswith(AOT)


def test_compiled_starts_on_cpu() -> None:
    cold = facts(LOGS["0.32.0"], "offline-compiled-cold.log")
    assert cold["weights_loading"] == [{"seconds": 1.13}]
    assert cold["profiling_run"] == [{"seconds": 34.28}]
    assert cold["cpu_warmup"] == [{"stage": "model for the compilation"}, {"stage": "done"}]
    assert cold["available_kv_memory"] == [{"gib": 1.0, "total_gib": 7.96}]
    assert cold["kv_cache_tokens"] == [{"device": "CPU", "tokens": 29_056}]
    assert cold["kv_max_concurrency"] == [{"per_request_tokens": 512, "concurrency": 56.75}]
    assert cold["engine_init"] == [{"seconds": 76.12}]
    assert "compile_total" not in cold  # 0.32.0 on CPU does not log it
    warm = facts(LOGS["0.32.0"], "offline-compiled-warm.log")
    (failed,) = warm["compile_cache_load_failed"]
    assert failed["what"] == "'function' object has no attribute 'finalize_loading'"
    assert "compile_cache_hit" not in warm


def test_starts_on_cpu_that_ran_out_of_memory() -> None:
    found = facts(LOGS["0.32.0"], "excerpts.log")
    assert {"what": "No available memory for the cache blocks"} in found["out_of_memory"]
    assert {"tokens": 512, "needed_gib": 0.02, "available_gib": 0.01} in found["out_of_memory"]
    assert found["enforce_eager"]


@pytest.mark.parametrize("version", LOGS)
def test_proven_is_what_the_kept_logs_prove(version: str) -> None:
    """`proven` of each pattern, against the logs in tests/data: neither more nor less."""
    logs = lines(LOGS[version])
    seen = {pattern for pattern in PATTERNS if any(message(line, pattern) for line in logs)}
    assert {pattern for pattern in PATTERNS if version in pattern.proven} == seen


def message(line: str, pattern: Pattern) -> bool:
    _, bracket, text = line.partition(".py:")
    return bool(pattern.regex.match(text.partition("] ")[2] if bracket else line))


# Rendered from the format strings in the published wheels of the version named: no log of these was seen.
RENDERED: list[tuple[str, str, str, dict[str, float | int | str]]] = [
    (
        "0.21.0",
        "Model loading took 13.5 GiB memory and 2.000000 seconds",
        "model_loading",
        {"gib": 13.5, "seconds": 2.0},
    ),
    (
        "0.29.0",
        "GPU KV cache size: 1,024 tokens, Maximum concurrency for 512 tokens per request: 2.00x",
        "kv_cache_tokens",
        {"device": "GPU", "tokens": 1024},
    ),
    (
        "0.33.0",
        "GPU + host KV cache size: 9 tokens, Maximum concurrency for 3 tokens per request: 3.00x",
        "kv_max_concurrency",
        {"per_request_tokens": 3, "concurrency": 3.0},
    ),
    ("0.33.0", "[backbone] torch.compile took 8.25 s in total", "compile_total", {"seconds": 8.25}),
    (
        "0.20.0",
        "torch.compile and initial profiling/warmup run together took 8.25 s in total",
        "compile_total",
        {"includes": "initial profiling/warmup", "seconds": 8.25},
    ),
    (
        "0.33.0",
        "[eagle_head] Using cache directory: /c/a b/r for vLLM's torch.compile",
        "compile_cache_dir",
        {"path": "/c/a b/r"},
    ),
    (
        "0.20.0",
        (
            "init engine (profile, create kv cache, warmup model) took 9.00 s (compilation: 3.00 s "
            "\N{EM DASH} language_model: 2.00 s, encoder: 1.00 s)"
        ),
        "engine_init",
        {
            "seconds": 9.0,
            "compilation_seconds": 3.0,
            "language_model_seconds": 2.0,
            "encoder_seconds": 1.0,
        },
    ),
    ("0.20.0", "Using AttentionBackendEnum.FLASHINFER backend.", "attention_backend", {"name": "FLASHINFER"}),
    (
        "0.33.0",
        "Using ROCM_ATTN backend (selected via --attention-backend).",
        "attention_backend",
        {"name": "ROCM_ATTN"},
    ),
    (
        "0.24.0",
        "Triton autotune/warmup candidate JIT compilation during inference: _k (key=('a', 1)).",
        "jit_during_inference",
        {"kernel": "_k"},
    ),
    (
        "0.33.0",
        "RuntimeError: CuTeDSL JIT compilation during inference: Mod.kernel. This causes a latency spike; x",
        "jit_during_inference",
        {"kernel": "Mod.kernel"},
    ),
    ("0.20.0", "Cudagraph is disabled under eager mode", "cudagraph_disabled", {}),
    ("0.22.1", "Shutdown initiated (timeout=0)", "shutdown", {"what": "Shutdown initiated (timeout=0)"}),
    (
        "0.20.0",
        (
            "ValueError: To serve at least one request with the models's max seq len (4096), (2.0 GiB KV "
            "cache is needed, which is larger than the available KV cache memory (1.5 GiB)."
        ),
        "out_of_memory",
        {"tokens": 4096, "needed_gib": 2.0, "available_gib": 1.5},
    ),
    (
        "0.33.0",
        (
            "ValueError: Free memory on device cuda:0 (3.1/79.2 GiB) on startup is less than desired GPU "
            "memory utilization (0.92, 72.9 GiB)."
        ),
        "out_of_memory",
        {"what": "startup", "available_gib": 3.1, "total_gib": 79.2},
    ),
    (
        "0.33.0",
        (
            "ValueError: The worker already uses 3.5 GiB (model weights and runtime), more than the 2.0 GiB "
            "of CPU memory reserved for it"
        ),
        "out_of_memory",
        {"what": "more than the 2.0 GiB of CPU memory reserved"},
    ),
    (
        "torch",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has",
        "out_of_memory",
        {"what": "CUDA out of memory. Tried to allocate 2.00 GiB"},
    ),
]


@pytest.mark.parametrize(("version", "text", "name", "fields"), RENDERED)
@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "(EngineCore pid=907) INFO 11-22 14:44:44 [model_runner.py:302] ",
        "\x1b[0;36m(Worker_TP0 pid=9)\x1b[0;0m ERROR 11-22 14:44:44 [core.py:1] ",
        "+  12.345 worker (EngineCore pid=907) WARNING 11-22 14:44:44 [a.py:3] ",
        "Loading:  50%\rLoading: 100%\rINFO 11-22 14:44:44 [b.py:3] ",
    ],
)
def test_rendered_lines(prefix: str, version: str, text: str, name: str, fields: dict[str, float | int | str]) -> None:
    assert Fact(name, fields) in match(f"{prefix}{text}\n"), version


def test_one_line_may_state_two_facts() -> None:
    text = "CPU KV cache size: 8 tokens, Maximum concurrency for 4 tokens per request: 2.00x"
    assert [fact.name for fact in match(f"INFO 11-22 14:44:44 [k.py:1] {text}")] == [
        "kv_cache_tokens",
        "kv_max_concurrency",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "\r\r\r",
        "\x00\x1b[\udcff\udcfe(((",
        "[",
        "(EngineCore pid=9",
        "INFO 11-22 14:44:44 [core.py:1] ",
        "GPU KV cache size: \u0661\u0662 tokens",
        "GPU KV cache size: lots tokens",
        "Model loading took 1.2.3 GiB and x seconds",
        "I asked: GPU KV cache size: 12 tokens",
        "Kernel JIT monitor activated; monitored JIT compilations during inference will use mode=warn.",
        'INFO:     127.0.0.1:4 - "POST /v1/completions HTTP/1.1" 200 OK',
    ],
)
def test_lines_that_state_nothing(line: str) -> None:
    assert match(line) == []


@pytest.mark.parametrize(
    "unit", ["x", "[", "(", " JIT compilation", "[a.py:1] ", "GPU ", "1,", "\x1b[0m", "\x00", "\r"]
)
def test_overlong_lines_state_nothing(unit: str) -> None:
    assert match(unit * (1_000_000 // len(unit))) == []  # a pattern that backtracks would not come back


def test_long_texts_and_numbers_are_cut() -> None:
    (fact,) = match("saved AOT compiled function to /" + "a" * 5000)
    assert len(str(fact.fields["path"])) == 300
    assert match("Using max model len " + "9" * 5000)[0].fields["tokens"] == int("9" * 16)


def test_every_pattern_is_labelled_with_versions_that_were_read() -> None:
    order = {version: place for place, version in enumerate(READ_IN_WHEELS)}
    for pattern in PATTERNS:
        last = order[pattern.last or READ_IN_WHEELS[-1]]
        assert order[pattern.first] <= last
        assert all(order[pattern.first] <= order[version] <= last for version in pattern.proven), pattern.name


def test_wordings_that_follow_one_another_leave_no_gap() -> None:
    """A wording that ended is followed, in the next version that was read, by one of the same fact."""
    order = {version: place for place, version in enumerate(READ_IN_WHEELS)}
    for pattern in PATTERNS:
        if pattern.last:
            following = order[pattern.last] + 1
            successors = [p for p in PATTERNS if p.name == pattern.name and p.last is None]
            assert any(order[successor.first] <= following for successor in successors), pattern.name
