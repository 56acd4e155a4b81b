"""Lab file -> RunSpec: reads the TOML, applies overrides, checks every name against vLLM's argument tables."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, fields
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl import argtables, needs, spans, unused
from labctl.errors import UsageError
from labctl.runner import spec, workloads
from labctl.runner.redact import secret_name, secret_within

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.resources.abc import Traversable

_TABLES = ("workload", "engine", "sampling", "env", "server", "vary", "needs")
_TOP = {"description", "mode", "model", "launcher", "seed", "sample_hz", *_TABLES}
# What a lab may set for the engine; anything else in the environment is the host's own business.
_ENV_PREFIXES = ("VLLM_", "HF_", "OMP_", "CUDA_", "NCCL_", "TORCH", "TRITON_CACHE_DIR")


def bundled() -> list[str]:
    """Names of the labs that come with labctl."""
    return sorted(entry.name.removesuffix(".toml") for entry in _folder().iterdir() if entry.name.endswith(".toml"))


def _folder() -> Traversable:
    return resources.files("labctl") / "labs"


def read(name: str) -> dict[str, Any]:
    """A lab by name, by the path of a TOML file, or of a run's spec.json. Raises UsageError with the nearest names."""
    if name.endswith(".json"):
        return _of_spec(Path(name))
    if name.endswith(".toml") or "/" in name:
        return _parse(Path(name), Path(name).stem)
    if name in bundled():
        return _parse(_folder() / f"{name}.toml", name)
    hint = "".join(f"; nearest: {', '.join(near)}" for _, near in argtables.unknown([name], bundled()) if near)
    raise UsageError(f"there is no lab {name!r} (there are {', '.join(bundled())}{hint})", "labctl labs")


def _of_spec(path: Path) -> dict[str, Any]:
    """A run's spec as a lab, so that any run can be run again, on any host."""
    try:
        asked = spec.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, spec.SpecError) as error:
        raise UsageError(f"cannot read the spec {path}: {error}") from error
    return {key: value for key, value in asdict(asked).items() if key not in {"schema", "vllm"}}


def _parse(path: Path | Traversable, name: str) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the lab {path}: {error.strerror or error}", "labctl labs") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the lab {path} is broken TOML: {error}") from error
    for unknown, near in argtables.unknown(data, _TOP):
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise UsageError(f"the lab {path} has the unknown key {unknown!r}{hint}; known: {', '.join(sorted(_TOP))}")
    for table in _TABLES:
        if not isinstance(data.get(table, {}), dict):
            raise UsageError(f"the lab {path}: {table} must be a table")
    return {**data, "lab": name}


def build(lab: dict[str, Any], *, vllm: str, env: Mapping[str, str], **over: Any) -> spec.RunSpec:
    """RunSpec of a lab with overrides, or UsageError.

    ``vllm``: the host's version, whose table the names are checked against. ``over``: ``model``, ``engine``,
    ``sampling`` and ``workload`` (lists of KEY=VALUE), ``server`` and ``span`` (tables), ``seed``, ``sample_hz``,
    ``synthetic``, and any key of the workload; None keeps what the lab says. ``vary`` is for labctl.grids.
    """
    needs.of_version(lab, vllm)
    table = _table(vllm)
    engine = {**lab.get("engine", {}), **_pairs("engine", over.get("engine") or (), table.engine)}
    sampling = {**lab.get("sampling", {}), **_pairs("sampling", over.get("sampling") or (), table.sampling)}
    _check("engine", engine, table.engine, table.vllm)
    _check("sampling", sampling, table.sampling, table.vllm)
    if over.get("sample_hz") is not None:
        lab = {**lab, "sample_hz": over["sample_hz"]}
    fixed: dict[str, Any] = {key: lab[key] for key in ("mode", "launcher", "sample_hz") if key in lab}
    data: dict[str, Any] = {
        **fixed,
        "lab": lab["lab"],
        "model": over.get("model") or lab.get("model", ""),
        "workload": _workload(lab, over),
        "engine": engine,
        "sampling": sampling,
        "seed": lab.get("seed", 0) if over.get("seed") is None else over["seed"],
        "synthetic": lab.get("synthetic", True) if over.get("synthetic") is None else over["synthetic"],
        "vllm": vllm,
        "env": {**_environment(lab.get("env", {})), **env},
        "server": {**(lab.get("server") or {}), **(over.get("server") or {})} or None,
        "span": over.get("span"),
    }
    try:
        asked = spec.from_dict(data)
        asked.to_json().encode()
        unused.check(asked, over)
    except spec.SpecError as error:
        raise UsageError(str(error)) from error
    except (TypeError, UnicodeEncodeError) as error:
        raise UsageError(
            f"the spec holds something that no text can hold (a date, half a character): {error}"
        ) from error
    return asked


# Everything else that may be laid over a lab is a key of its workload.
_NO_WORKLOAD = {"model", "engine", "sampling", "workload", "server", "span", "seed", "sample_hz", "synthetic"}


def _workload(lab: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The lab's workload with what was laid over it. Raises UsageError for a key that its kind does not have."""
    work: dict[str, Any] = dict(lab.get("workload", {}))
    given = {name: value for name, value in over.items() if name not in _NO_WORKLOAD and value not in (None, [], ())}
    for item in over.get("workload") or ():
        name, mark, value = item.partition("=")
        if not mark or not name.strip():
            raise UsageError(f"--workload takes KEY=VALUE, not {item!r}")
        given[name.strip().replace("-", "_")] = _plain(value)
    kind = workloads.KINDS.get(str(work.get("kind", "prompts")))
    known = {item.name for item in fields(kind)} if kind else set(given)
    for name in sorted(set(given) - known):
        raise UsageError(
            f"a workload of kind {work.get('kind', 'prompts')} has no {name}: it has {', '.join(sorted(known))}"
        )
    return {**work, **given}


def _plain(value: str) -> object:
    """A value of a workload: JSON where it is some, a list where commas part it, else the text."""
    try:
        return json.loads(value)
    except ValueError:
        return [_plain(part) for part in value.split(",")] if "," in value else value


def _table(vllm: str) -> argtables.ArgTable:
    try:
        return argtables.load(vllm)
    except LookupError as error:
        raise UsageError(str(error)) from error


def _pairs(kind: str, texts: Iterable[str], known: Mapping[str, argtables.Argument]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        # vLLM's own spelling on the command line has dashes.
        name = name.strip().lstrip("-").replace("-", "_")
        if not mark or not name:
            raise UsageError(f"--{kind} takes KEY=VALUE, not {text!r}")
        # An unknown name stays text: _check names it, with its nearest.
        found[name] = _value(kind, name, value, known) if name in known else value
    return found


def _check(kind: str, given: Mapping[str, Any], known: Mapping[str, Any], version: str) -> None:
    wrong = [f"{name} (nearest: {', '.join(near)})" if near else name for name, near in argtables.unknown(given, known)]
    if wrong:
        raise UsageError(f"vLLM {version} has no {kind} argument {'; '.join(wrong)}")
    _check_values(kind, given, known)
    for name in {"model", "seed"} & set(given) if kind == "engine" else ():
        raise UsageError(f"{name} is no engine argument of a lab: set {name} itself (--{name})")
    if kind == "engine":
        spans.refuse(given)


def _check_values(kind: str, given: Mapping[str, Any], known: Mapping[str, argtables.Argument]) -> None:
    for name, value in given.items():
        if secret_name(name):
            raise UsageError(f"{name} is a secret, which never goes into a spec: export HF_TOKEN in your shell instead")
        inner = secret_within(name, _value(kind, name, value, known))
        if inner:
            raise UsageError(f"{inner} is a secret, which never goes into a spec")


def _value(kind: str, name: str, value: object, known: Mapping[str, argtables.Argument]) -> object:
    """The value as vLLM's table reads it, from the text of KEY=VALUE or from TOML. Raises UsageError naming it."""
    try:
        text = value if isinstance(value, str) else json.dumps(value)
    except TypeError as error:
        raise UsageError(f"{kind} argument {name} holds what JSON cannot: {error}") from error
    try:
        return argtables.check_value(name, text, known)
    except ValueError as error:
        raise UsageError(f"{kind} argument {error}") from error


def _environment(given: Mapping[str, Any]) -> dict[str, str]:
    for name in given:
        if not name.startswith(_ENV_PREFIXES):
            raise UsageError(f"the lab sets {name}; a lab may set {', '.join(p + '*' for p in _ENV_PREFIXES)} only")
        if secret_name(name):
            raise UsageError(f"the lab sets {name}: a secret never goes into a file; export it in your shell instead")
    return {name: str(value) for name, value in given.items()}
