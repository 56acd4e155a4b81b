"""Checks argument names against the vLLM that is really there, before a minute of engine start is spent."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from typing import Any


class ArgumentError(RuntimeError):
    """An engine or sampling argument that the installed vLLM does not know."""


def known() -> dict[str, set[str]]:
    """Names of the engine and sampling arguments of the vLLM that is installed."""
    from vllm import LLM, SamplingParams
    from vllm.engine.arg_utils import EngineArgs

    engine = {field.name for field in dataclasses.fields(EngineArgs)} | set(inspect.signature(LLM).parameters)
    return {"engine": engine, "sampling": set(inspect.signature(SamplingParams).parameters)}


def check(engine: dict[str, Any], sampling: dict[str, Any], version: str) -> None:
    """Raise ArgumentError naming every unknown argument and its nearest names in vLLM ``version``."""
    names = known()
    given = {"engine": engine, "sampling": sampling}
    wrong = [_sentence(kind, name, names[kind]) for kind in given for name in sorted(set(given[kind]) - names[kind])]
    if wrong:
        raise ArgumentError(f"vLLM {version} on this host: " + "; ".join(wrong))


def _sentence(kind: str, name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=3)
    return f"unknown {kind} argument {name}" + (f" (nearest: {', '.join(near)})" if near else "")
