"""RunSpec: what was asked. One definition for the laptop and the host; ``spec.json`` in a run directory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from labctl.runner import workloads
from labctl.runner.placement import Server, Span
from labctl.runner.workloads import SpecError, Workload

__all__ = ["SCHEMA", "RunSpec", "SpecError", "from_dict", "from_json"]

SCHEMA = 2  # 2: workloads of other kinds than prompts, server, span
SAMPLE_HZ = 5.0
MODES = ("offline", "server")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """What was asked, immutable.

    ``engine`` and ``sampling`` hold the keyword arguments of ``vllm.LLM`` (EngineArgs) and ``vllm.SamplingParams`` as
    given; ``vllm`` is the version whose argument table the laptop checked them against; ``sample_hz`` is how often the
    machine is sampled (0: never); ``env`` holds non-secret environment variables for the worker (HF_ENDPOINT, VLLM_*).
    ``server``: how a server listens (mode ``server`` alone); ``span``: this host's part of an engine over several.
    """

    lab: str
    model: str
    workload: Workload
    mode: str = "offline"
    launcher: str = "venv"
    engine: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    synthetic: bool = True
    sample_hz: float = SAMPLE_HZ
    vllm: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    server: Server | None = None
    span: Span | None = None
    schema: int = SCHEMA

    def check(self) -> None:
        """Raise SpecError with one readable sentence where the spec cannot be run."""
        if self.mode not in MODES:
            raise SpecError(f"mode {self.mode!r} is unknown; known: {', '.join(MODES)}")
        if not isinstance(self.model, str) or not self.model.strip():
            raise SpecError("the spec names no model")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            raise SpecError(f"seed must be a whole number of at least 0, not {self.seed!r}")
        if isinstance(self.sample_hz, bool) or not 0 <= self.sample_hz <= _FASTEST_HZ:
            raise SpecError(f"sample_hz must be between 0 (never) and {_FASTEST_HZ:g}, not {self.sample_hz!r}")
        _check_sampling(self.sampling)
        self.workload.check()
        if self.mode != self.workload.MODE:
            raise SpecError(
                f"a workload of kind {self.workload.kind} is for mode {self.workload.MODE}, not {self.mode}"
            )
        if (self.server is None) != (self.mode != "server"):
            raise SpecError(f"server settings belong to mode server, not to {self.mode}")
        if self.span is not None and self.mode != "server":
            raise SpecError(f"an engine over several hosts is for mode server, not {self.mode}")
        for part in (self.server, self.span):
            if part is not None:
                part.check()

    def to_json(self) -> str:
        """The canonical text of ``spec.json``: sorted keys, UTF-8, one trailing newline."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    def sha256(self) -> str:
        """Hex sha256 of the canonical text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


# Bounds that vLLM enforces only after a minute of engine start (vllm/sampling_params.py, 0.32.0,
# SamplingParams._verify_args); checked here so that a bad value never reaches a host.
_BOUNDS: dict[str, tuple[float, float]] = {
    "max_tokens": (1, float("inf")),
    "min_tokens": (0, float("inf")),
    "n": (1, float("inf")),
    "temperature": (0.0, float("inf")),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.0, float("inf")),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}


# A sample takes milliseconds; faster ones would measure the sampler.
_FASTEST_HZ = 50.0
_KINDS: dict[str, type | tuple[type, ...]] = {
    "lab": str, "model": str, "mode": str, "launcher": str, "engine": dict, "sampling": dict,
    "synthetic": bool, "env": dict, "sample_hz": (int, float),
}  # fmt: skip


def _check_sampling(sampling: dict[str, Any]) -> None:
    for name, (low, high) in _BOUNDS.items():
        value = sampling.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SpecError(f"sampling argument {name} must be a number, not {value!r}")
        if not low <= value <= high:
            limit = f"at least {low:g}" if high == float("inf") else f"between {low:g} and {high:g}"
            raise SpecError(f"sampling argument {name} must be {limit}, not {value!r}")


def from_json(text: str) -> RunSpec:
    """Read ``spec.json``. Raises SpecError for broken JSON, a newer schema, unknown or missing keys."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"spec.json is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise SpecError("spec.json holds no object")
    schema = data.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise SpecError(f"spec.json has schema {schema!r}; this labctl reads up to {SCHEMA}: use a newer labctl")
    return from_dict(data)


def from_dict(data: dict[str, Any]) -> RunSpec:
    """Build and check a RunSpec from plain data. Raises SpecError."""
    names = {item.name for item in fields(RunSpec)}
    unknown = sorted(set(data) - names)
    if unknown:
        raise SpecError(f"unknown key in the spec: {', '.join(unknown)}; known: {', '.join(sorted(names))}")
    work = workloads.read(data.get("workload"))
    missing = [name for name in ("lab", "model") if name not in data]
    if missing:
        raise SpecError(f"the spec lacks {' and '.join(missing)}")
    for name, kind in _KINDS.items():
        if name in data and not isinstance(data[name], kind):
            raise SpecError(f"{name} in the spec has the wrong type: {type(data[name]).__name__}")
    parts = {"server": _part(Server, data.get("server"), "server"), "span": _part(Span, data.get("span"), "span")}
    if parts["server"] is None and work.MODE == "server":
        parts["server"] = Server()
    spec = RunSpec(**{"mode": work.MODE, **data, **parts, "workload": work, "schema": SCHEMA})
    spec.check()
    return spec


def _part(kind: type[Any], data: object, where: str) -> Any:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise SpecError(f"{where} in the spec must be a table")
    return workloads.build(kind, data, where)
