"""From what was asked of an engine to what it gets: the model found, this machine's adjustments made, all as events."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.runner import arguments, model, probe

if TYPE_CHECKING:
    from labctl.runner.events import Events
    from labctl.runner.spec import RunSpec

_GIB = 1024**3


def import_vllm(asked: RunSpec, events: Events) -> Any:
    """Import vLLM into this process and check the argument names against it. Raises ArgumentError."""
    with events.during("import") as told:
        import vllm

        # vLLM imports lazily: what LLM needs is asked for here, or its seconds would hide in the next phase.
        arguments.known()
        told["vllm"] = vllm.__version__
    arguments.check(asked.engine, asked.sampling, vllm.__version__)
    return vllm


def prepare(asked: RunSpec, run_dir: Path, events: Events) -> dict[str, Any]:
    """Find (or make) the model, and say what ``LLM`` or ``vllm serve`` gets, ``model`` included. Raises ModelError.

    Sets environment variables where an adjustment is one.
    """
    lab_dir = run_dir.parent.parent
    with events.during("model"):
        weights = asked.engine.get("load_format") != "dummy"
        choice = model.resolve(asked.model, lab_dir / "models", allow_synthetic=asked.synthetic, weights=weights)
        events.emit("model", **dataclasses.asdict(choice))
    engine, adjusted = _settle(asked, choice, lab_dir)
    events.emit("engine", requested=asked.engine, adjusted=adjusted, used=engine)
    return engine


def _settle(asked: RunSpec, choice: model.Choice, lab_dir: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the engine gets, and what the runner had to adjust to this machine, each with its reason."""
    engine = {"disable_log_stats": False, "seed": asked.seed, **asked.engine, "model": choice.used}
    adjusted: list[tuple[str, str | bool, str]] = []
    if choice.weights == "dummy" and "load_format" not in engine:
        adjusted.append(("load_format", "dummy", "a synthetic model of this size has no weights on disk"))
    lab = lab_facts(lab_dir)
    if lab.get("compiler") is False and not engine.get("enforce_eager"):
        adjusted.append(("enforce_eager", True, "torch.compile needs a C++ compiler and Python headers; missing here"))
    if lab.get("variant") == "cuda" and "jit_monitor_verbose" not in engine and _tells_of_each_kernel(lab.get("vllm")):
        adjusted.append(("jit_monitor_verbose", True, "else vLLM tells of a kernel compiled meanwhile only once"))
    engine.update({key: value for key, value, _ in adjusted})
    rows = [{"key": key, "value": value, "why": why} for key, value, why in adjusted]
    return engine, rows + (_cpu_settings(engine, choice) if lab.get("variant") == "cpu" else [])


def _tells_of_each_kernel(vllm: object) -> bool:
    """Whether this vLLM can log every compilation while it generates: jit_monitor_verbose, from 0.24.0 on.

    Else a name is logged once (logger.warning_once in vllm/utils/jit_monitor.py, 0.25.1), and of two passes in which
    two shapes of a kernel were compiled the second would count.
    """
    found = re.match(r"(\d+)\.(\d+)\.", str(vllm))
    return found is not None and (int(found[1]), int(found[2])) >= (0, 24)


def _cpu_settings(engine: dict[str, Any], choice: model.Choice) -> list[dict[str, Any]]:
    """What vLLM's CPU build needs on a small machine; only what nobody asked for otherwise, each with its reason."""
    rows: list[tuple[str, int | str, str]] = []
    if os.environ.get("VLLM_CPU_KVCACHE_SPACE") == "":
        # Asked for: vLLM's own choice, a share of the memory (gpu_memory_utilization). Empty, vLLM fails on it.
        del os.environ["VLLM_CPU_KVCACHE_SPACE"]
    elif "VLLM_CPU_KVCACHE_SPACE" not in os.environ and "kv_cache_memory_bytes" not in engine:
        # Left alone, vLLM's CPU worker takes 92 % of all memory, or fails when that is not free
        # (vllm/v1/worker/cpu_worker.py, 0.32.0).
        space = max(1, min(2, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8 // _GIB))
        why = "GiB of KV cache: vLLM on CPU would take 92 % of the machine's memory"
        rows.append(("VLLM_CPU_KVCACHE_SPACE", space, why))
    if "VLLM_USE_AOT_COMPILE" not in os.environ and not engine.get("enforce_eager"):
        why = "the CPU build saves its AOT compile cache but cannot load it: a warm start is faster without"
        rows.append(("VLLM_USE_AOT_COMPILE", 0, why))
    for name, value, _ in rows:
        os.environ[name] = str(value)
    features = set(probe.cpu()["features"])
    if "dtype" not in engine and _config_dtype(choice.used) == "float16" and not features & {"avx512_fp16", "amx_fp16"}:
        why = "the model is float16, and this CPU has no float16 matrix instructions (half the speed)"
        rows.append(("dtype", "bfloat16", why))
        engine["dtype"] = "bfloat16"
    return [{"key": name, "value": value, "why": why} for name, value, why in rows]


def _config_dtype(folder: str) -> str | None:
    """torch_dtype (dtype in newer files) of a model folder's config.json, None where there is none."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config.get("dtype") or config.get("torch_dtype") if isinstance(config, dict) else None


def lab_facts(lab_dir: Path) -> dict[str, Any]:
    """lab.json of the host, as the role lab_runner wrote it; empty where it cannot be read."""
    try:
        facts: Any = json.loads((lab_dir / "lab.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def cache_entries() -> int:
    """How many compiled libraries and GPU kernels lie in the caches of vLLM, inductor and Triton."""
    names = ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    folders = [Path(os.environ[name]) for name in names if os.environ.get(name)]
    found = {path for folder in folders for kind in ("*.so", "*.cubin") for path in folder.rglob(kind)}
    return len(found)
