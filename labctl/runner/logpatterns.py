"""Turn lines of vLLM's engine log into facts: `match(line)` gives what the line says, in numbers.

vLLM's log is no interface: its wording changes between versions. So each pattern says in which versions the
wording is (`first` to `last`: read in the wheels of READ_IN_WHEELS, as format strings, not in a run)
and of which versions a real log was seen (`proven`: 0.25.1 on an H100, 0.32.0 on CPU; tests hold those logs).
An empty `proven` means: read only. A line that no pattern knows is no fact and no error.

The device of `kv_cache_tokens` is a label: up to 0.29 it says GPU on a CPU as well. On CPU, 0.32.0 logs no
compile time and no cache directory: `compile_cache_saved`, `profiling_run` and `cpu_warmup` are all it tells.

Standard library only; runs on Python 3.9.
"""

from __future__ import annotations

import re
from typing import NamedTuple

READ_IN_WHEELS = (
    *("0.20.0", "0.20.1", "0.20.2", "0.21.0", "0.22.0", "0.22.1", "0.23.0", "0.24.0", "0.25.0", "0.25.1"),
    *("0.26.0", "0.27.0", "0.27.1", "0.28.0", "0.29.0", "0.30.0", "0.31.0", "0.32.0", "0.33.0"),
)
LONGEST_LINE = 8192  # characters that are looked at; every fact stands near the start of its message
LONGEST_TEXT = 300  # characters that are kept of a path or a sentence

ANSI = re.compile(r"\x1b\[[0-9;]{0,20}[A-Za-z]")
# "(EngineCore pid=907) INFO 11-22 14:44:44 [model_runner.py:302] message", with whatever stamp before it
PREFIX = re.compile(r".{0,300}?\[[\w.-]{1,80}\.py:\d{1,6}\] ?")
PROCESS = re.compile(r"\([\w -]{1,80} pid=\d{1,10}\) ")
N = r"-?\d{1,15}(?:\.\d{1,15})?"  # a number
T = r"\d[\d,]{0,15}"  # a count of tokens: 1,022,416
TAG = r"(?:\[[^\]]{1,80}\] )?"  # since 0.32 what torch.compile says names the model part: "[backbone] "
INTEGERS = frozenset({"tokens", "per_request_tokens"})
TEXTS = frozenset(
    {"device", "range", "path", "includes", "version", "arch", "name", "kernel", "stage", "who", "what"},
)
GPU, CPU = "0.25.1", "0.32.0"  # of these, logs were seen: on an H100, on CPU
BOTH = (GPU, CPU)


class Fact(NamedTuple):
    """What a line says: `fields` are seconds, gib (GiB), tokens (int), or texts such as path and arch."""

    name: str
    fields: dict[str, float | int | str]


class Pattern(NamedTuple):
    """One wording, found in the wheels from `first` (the oldest read: 0.20.0) to `last` (None: the newest).

    `proven`: versions of which a real log with it was seen. `source`: the file that logs it, in `last`
    (where several do, the one that most runs pass through).
    """

    name: str
    regex: re.Pattern[str]
    first: str
    last: str | None
    proven: tuple[str, ...]
    source: str


def _p(  # noqa: PLR0913 - one row of the table below
    name: str,
    regex: str,
    source: str,
    proven: tuple[str, ...] = (),
    *,
    first: str = "0.20.0",
    last: str | None = None,
) -> Pattern:
    where = source if source == TORCH else f"vllm/{source}"
    return Pattern(name, re.compile(regex, re.ASCII), first, last, proven, where)


KV, MONITOR, BACKENDS = "v1/core/kv_cache_utils.py", "compilation/monitor.py", "compilation/backends.py"
DECORATORS, CORE = "compilation/decorators.py", "v1/engine/core.py"
GPU_WORKER, CPU_WORKER = "v1/worker/gpu_worker.py", "v1/worker/cpu_worker.py"
RUNNER, CPU_RUNNER = "v1/worker/gpu_model_runner.py", "v1/worker/cpu_model_runner.py"
JIT = "utils/jit_monitor.py"  # up to 0.24 in triton_utils/
PLANNING = "v1/core/kv_cache_planning.py"  # up to 0.32 in kv_cache_utils.py
CUDA, CONFIG, TORCH = "platforms/cuda.py", "config/vllm.py", "torch"

PATTERNS: tuple[Pattern, ...] = (
    _p("load_start", r"(?:Starting to load model|Loading model from scratch)\b", RUNNER, BOTH),
    _p("checkpoint_size", rf".*Checkpoint size: (?P<gib>{N}) GiB",
       "model_executor/model_loader/weight_utils.py", (CPU,)),
    _p("graph_capture_start", r"Capturing CUDA graphs", RUNNER, (GPU,)),
    _p("model_loading", rf"Model loading took (?P<gib>{N}) GiB and (?P<seconds>{N}) seconds",
       "v1/worker/gpu/model_runner.py", (GPU,), last="0.27.1"),
    _p("model_loading", rf"Model loading took (?P<gib>{N}) GiB memory and (?P<seconds>{N}) seconds", RUNNER),
    _p("weights_loading", rf"Loading weights took (?P<seconds>{N}) seconds",
       "model_executor/model_loader/default_loader.py", (CPU,)),
    _p("kv_cache_tokens", rf"(?P<device>GPU) KV cache size: (?P<tokens>{T}) tokens\s*$",
       KV, (GPU,), last="0.27.1"),
    _p("kv_cache_tokens", rf"(?P<device>[A-Z]+(?: \+ host)?) KV cache size: (?P<tokens>{T}) tokens, Max",
       KV, (CPU,), first="0.28.0"),
    _p("kv_max_concurrency", rf"Maximum concurrency for (?P<per_request_tokens>{T}) tokens per request: "
       rf"(?P<concurrency>{N})x", KV, (GPU,), last="0.27.1"),
    _p("kv_max_concurrency", rf"[A-Z]+(?: \+ host)? KV cache size: {T} tokens, Maximum concurrency for "
       rf"(?P<per_request_tokens>{T}) tokens per request: (?P<concurrency>{N})x", KV, (CPU,), first="0.28.0"),
    _p("available_kv_memory", rf"Available KV cache memory: (?P<gib>{N}) GiB", GPU_WORKER, (GPU,)),
    _p("available_kv_memory", rf"(?:Explicitly|Auto) set \((?P<gib>{N})/(?P<total_gib>{N})\) GiB for KV",
       CPU_WORKER, (CPU,)),
    _p("compile_total", rf"{TAG}torch\.compile took (?P<seconds>{N}) s in total", MONITOR, (GPU,)),
    _p("compile_total", rf"{TAG}torch\.compile and (?P<includes>initial profiling/warmup) run together took "
       rf"(?P<seconds>{N}) s in total", DECORATORS),
    _p("dynamo_time", rf"{TAG}Dynamo bytecode transform time: (?P<seconds>{N}) s", BACKENDS, (GPU,)),
    _p("graph_compile", rf"{TAG}Compiling a graph for compile range (?P<range>.{{1,60}}?) takes "
       rf"(?P<seconds>{N}) s", BACKENDS, (GPU,)),
    _p("compile_cache_dir", rf"{TAG}Using cache directory: (?P<path>.+?) for vLLM's torch\.compile",
       BACKENDS, (GPU,)),
    _p("compile_cache_hit", rf"{TAG}Directly load the compiled graph\(s\) for compile range "
       rf"(?P<range>.{{1,60}}?) from the cache, took (?P<seconds>{N}) s", BACKENDS, (GPU,)),
    _p("compile_cache_hit", rf"{TAG}Directly load AOT compilation from path (?P<path>\S+)",
       DECORATORS, (GPU,)),
    _p("compile_cache_saved", rf"{TAG}saved AOT compiled function to (?P<path>\S+)", DECORATORS, BOTH),
    _p("compile_cache_load_failed", rf"{TAG}Compiling model again due to a load failure from (?P<path>\S+), "
       r"reason: (?P<what>.*)", DECORATORS, (CPU,)),
    _p("profiling_run", rf"{TAG}Initial profiling/warmup run took (?P<seconds>{N}) s", MONITOR, BOTH),
    _p("graph_capture", rf"Graph capturing finished in (?P<seconds>{N}) secs, took (?P<gib>{N}) GiB",
       RUNNER, (GPU,)),
    _p("engine_init", rf"init engine \(profile, create kv cache, warmup model\) took (?P<seconds>{N}) s"
       rf"(?: \(compilation: (?P<compilation_seconds>{N}) s"
       rf"(?: . language_model: (?P<language_model_seconds>{N}) s, encoder: (?P<encoder_seconds>{N}) s)?\))?",
       CORE, BOTH),
    _p("engine_start", r"Initializing a V1 LLM engine \(v(?P<version>[^)\s]{1,80})\)", CORE, BOTH),
    _p("server_version", r" ?(?:\u2584\u2584 \u2584\u2588 [\u2580-\u2588 ]{1,60}|vLLM server )version "
       r"(?P<version>[^\s,]{1,80})", "entrypoints/common/startup.py", BOTH),
    _p("resolved_architecture", r"Resolved architecture: (?P<arch>\S+)", "config/model.py", BOTH),
    _p("max_model_len", rf"Using max model len (?P<tokens>{T})", "config/model.py", BOTH),
    _p("attention_backend", r"Using (?P<name>\w+) (?:attention )?backend out of potential backends",
       CUDA, (GPU,)),
    _p("attention_backend", r"Using (?:AttentionBackendEnum\.)?(?P<name>[A-Z][A-Z0-9_]+) backend"
       r"(?:\.$| \(selected)", CUDA),
    _p("jit_during_inference", r"(?:.{0,80}RuntimeError: )?\w+ (?:[\w/]+ ){0,3}JIT compilation "
       r"during inference: (?P<kernel>[^\s(]+?)(?:\. |\.?$| \()", JIT, (GPU,), first="0.21.0"),
    _p("enforce_eager", r"Enforce eager set, disabling torch\.compile", CONFIG, (CPU,)),
    _p("cudagraph_disabled", r"Cudagraph is disabled under eager mode|Skipping CUDA graph capture\.", CONFIG),
    _p("cpu_warmup", r"Warming up (?P<stage>model for the compilation|done)\.", CPU_RUNNER, (CPU,)),
    _p("shutdown", r"\[shutdown\] (?:(?P<who>[A-Za-z ]{1,40}): )?(?P<what>.+)", CORE, BOTH, first="0.23.0"),
    _p("shutdown", r"(?P<what>Shutdown (?:initiated \(timeout=\d+\)|complete)\s*$"
       r"|Shutting down FastAPI HTTP server)", CORE, last="0.22.1"),
    _p("out_of_memory", rf".*To serve at least one request with the model(?:'s|s's) max seq len "
       rf"\((?P<tokens>{T})\), \((?P<needed_gib>{N}) GiB KV cache is needed, which is larger than the "
       rf"available KV cache memory \((?P<available_gib>{N}) GiB\)", PLANNING, (CPU,)),
    _p("out_of_memory", r".*(?P<what>No available memory for the cache blocks)", PLANNING, (CPU,)),
    _p("out_of_memory", r".*(?P<what>(?:CUDA|HIP|XPU)(?: error:)? out of memory"
       r"(?:\. Tried to allocate [\d.]+ \w+)?)", TORCH),
    _p("out_of_memory", r".*(?P<what>Failed to load model - not enough GPU memory)", RUNNER),
    _p("out_of_memory", rf".*(?:Free|Available) memory on (?:device|node) .{{1,40}}? "
       rf"\((?P<available_gib>{N})/(?P<total_gib>{N}) GiB\) on (?P<what>startup|kv cache allocation) "
       r"is less than", "v1/worker/utils.py"),
    _p("out_of_memory", rf".*The worker already uses {N} GiB \(model weights and runtime\), "
       rf"(?P<what>more than the {N} GiB of CPU memory reserved)", CPU_WORKER, first="0.33.0"),
    _p("out_of_memory", r".*(?P<what>DefaultCPUAllocator: (?:not enough|can't allocate) memory)", TORCH),
)  # fmt: skip


def match(line: str) -> list[Fact]:
    """Facts that one line of the log states, at most one of each name; an unknown line gives an empty list.

    Never raises, and takes bounded time whatever the line holds: of a progress bar only what stands after the
    last carriage return is read, of an overlong line the start.
    """
    message = _message(line)
    found: dict[str, Fact] = {}
    for pattern in PATTERNS:
        if pattern.name not in found:
            hit = pattern.regex.match(message)
            if hit:
                found[pattern.name] = Fact(pattern.name, _fields(hit))
    return list(found.values())


def _message(line: str) -> str:
    text = ANSI.sub("", line.rstrip("\r\n").rpartition("\r")[2][:LONGEST_LINE])
    prefix = PREFIX.match(text) or PROCESS.match(text)
    return text[prefix.end() :].strip() if prefix else text.strip()


def _fields(hit: re.Match[str]) -> dict[str, float | int | str]:
    fields: dict[str, float | int | str] = {}
    for name, text in hit.groupdict().items():
        if text is None:
            continue
        if name in INTEGERS:
            fields[name] = int(text.replace(",", ""))
        else:
            fields[name] = text[:LONGEST_TEXT] if name in TEXTS else float(text)
    return fields
