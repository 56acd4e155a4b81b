"""Which value each of the tutorial's parameters has: by default, and for this model and machine. No engine is started.

It takes no device's lock: making a config reads the model's files and asks the driver (NVML) what the GPU is; it
allocates nothing on it, so that a running server is not disturbed. Whether CUDA stayed untouched is recorded.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from labctl.runner import ending, engine_args, rundir
from labctl.runner.events import read
from labctl.runner.parameter_rows import PARAMETERS, REMOVED_IN, Parameter, gone, note

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from labctl.runner.events import Events
    from labctl.runner.spec import RunSpec

FILE = "parameters.json"
SCHEMA = 1
# Both ways to an engine: vLLM's UsageContext (vllm/usage/usage_lib.py, 0.32.0), which some defaults depend on.
_CONTEXTS = {"resolved": "LLM_CLASS", "resolved_serve": "OPENAI_API_SERVER"}
_RESOLVED_BY = "EngineArgs.create_engine_config, usage contexts LLM_CLASS (LLM) and OPENAI_API_SERVER (vllm serve)"


def run(asked: RunSpec, run_dir: Path, events: Events) -> None:
    """Write parameters.json: defaults of the vLLM that is here, and what it makes of them for this engine.

    Raises ArgumentError, ModelError, and what vLLM raises for a config that it refuses (the defaults stand by then).
    """
    vllm = engine_args.import_vllm(asked, events)
    from vllm.engine.arg_utils import EngineArgs

    found = Found(vllm.__version__, {item.name: _default(item) for item in dataclasses.fields(EngineArgs)})
    engine = engine_args.prepare(asked, run_dir, events)
    _write(run_dir, asked, found)
    with events.during("config") as told:
        found.configs = {key: _config(EngineArgs, engine, context) for key, context in _CONTEXTS.items()}
        found.device = str(next(iter(found.configs.values())).device_config.device_type)
        told["cuda_initialized"] = _cuda_initialized()
    rows = (ending.last(read(run_dir), "engine") or {}).get("adjusted", ())
    found.adjusted = {str(row["key"]): str(row["why"]) for row in rows}
    found.space = os.environ.get("VLLM_CPU_KVCACHE_SPACE", "")
    _write(run_dir, asked, found)


@dataclasses.dataclass
class Found:
    """What was read: ``defaults`` of EngineArgs by name, ``configs`` (VllmConfig) by the key of its context.

    ``adjusted``: {argument: why} that labctl set by itself; ``space``: VLLM_CPU_KVCACHE_SPACE, "" where it is not set.
    """

    vllm: str
    defaults: dict[str, Any]
    configs: dict[str, Any] = dataclasses.field(default_factory=dict)
    device: str | None = None
    adjusted: dict[str, str] = dataclasses.field(default_factory=dict)
    space: str = ""


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return None if item.default is dataclasses.MISSING else item.default


def _config(kind: Any, engine: Mapping[str, Any], context: str) -> Any:
    """The VllmConfig of one way to an engine; what ``LLM`` alone takes has no part in it."""
    from vllm.usage.usage_lib import UsageContext

    names = {item.name for item in dataclasses.fields(kind)}
    made = kind(**{name: value for name, value in engine.items() if name in names})
    return made.create_engine_config(usage_context=UsageContext[context])


def _cuda_initialized() -> bool:
    """Whether this process has touched a GPU: it must not, or it would take memory from a running server."""
    torch = sys.modules.get("torch")
    return bool(torch is not None and torch.cuda.is_initialized())


def _write(run_dir: Path, asked: RunSpec, found: Found) -> None:
    rows = [_row(one, asked.engine, found) for one in PARAMETERS]
    told = {"schema": SCHEMA, "vllm": found.vllm, "model": asked.model, "device": found.device, "rows": rows}
    rundir.write_atomic(run_dir / FILE, (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode())


def _row(one: Parameter, asked: Mapping[str, Any], found: Found) -> dict[str, Any]:
    """One parameter as plain data; ``differs``: whether what the tutorial says is not so here."""
    there = one.name in found.defaults
    default = _plain(found.defaults.get(one.name))
    resolved = {key: _plain(_at(found.configs.get(key), one.where)) for key in _CONTEXTS}
    said = note(one.name, found) if there else gone(one.name)
    # Of what was asked for, nobody knows what vLLM would have chosen.
    chosen = [] if one.name in asked else list(resolved.values())
    now = chosen if default is None else [default]
    return {
        "name": one.name,
        "flag": one.flag,
        "default": default,
        "default_source": f"EngineArgs of vLLM {found.vllm}" if there else None,
        **resolved,
        "resolved_by": _RESOLVED_BY if there and found.configs else None,
        "tutorial": one.tutorial,
        "differs": one.tutorial is not None and (not there or any(one.tutorial != value for value in now)),
        "meaning": one.meaning,
        "removed_in": None if there else REMOVED_IN.get(one.name),
        "note": said.get("en", ""),
        "note_zh": said.get("zh", ""),
    }


def _at(config: Any, where: str) -> Any:
    """What stands at ``where`` (dotted) in a config; None where there is none."""
    for name in where.split(".") if where else ():
        config = getattr(config, name, None)
    return config if where else None


def _plain(value: Any) -> Any:
    """A value as JSON holds it; torch.bfloat16 is ``bfloat16``."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value).removeprefix("torch.")
