"""Typed looks into facts and wishes, which may lack anything or hold anything: what is not as agreed is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from labctl.errors import ProvisionError


class Impossible(ProvisionError):  # noqa: N818 - `plan.Impossible` reads as what it says
    """No plan fits this host and these wishes; the sentence says why and what would."""


def get(facts: object, *path: str) -> Any:
    """The value at a path of keys, None where there is none."""
    for key in path:
        facts = facts.get(key) if isinstance(facts, Mapping) else None
    return facts


def text(facts: object, *path: str) -> str | None:
    """A text at a path; None for an empty one or for anything else."""
    found = get(facts, *path)
    return str(found) if isinstance(found, str) and found else None


def rows(facts: object, *path: str) -> list[Mapping[str, Any]]:
    """The tables in a list at a path."""
    found = get(facts, *path)
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


class Wishes(NamedTuple):
    """The knobs of group_vars that a plan obeys."""

    vllm_version: str = "auto"
    vllm_variant: str = "auto"
    vllm_python: str = "auto"
    python_env_mode: str = "auto"
    gpu_driver: str = "auto"
    container_runtime: str = "auto"
    vllm_without: tuple[str, ...] = ()


_CHOICES = {
    "vllm_variant": ("auto", "cpu", "cuda"),
    "python_env_mode": ("auto", "uv", "venv", "conda", "existing"),
    "gpu_driver": ("auto", "install", "leave"),
    "container_runtime": ("auto", "install", "leave"),
}


def wishes(given: object) -> Wishes:
    """Wishes out of a table; a missing one is auto. Raises Impossible for a value that none of them takes."""
    words = {name: _word(name, get(given, name)) for name in Wishes._fields if name != "vllm_without"}
    for name, choices in _CHOICES.items():
        if words[name] not in choices:
            raise Impossible(f"{name} is {words[name]!r}; it takes {', '.join(choices)}.")
    without = get(given, "vllm_without") or []
    if not isinstance(without, (list, tuple)) or not all(isinstance(name, str) for name in without):
        raise Impossible("vllm_without takes a list of package names.")
    return Wishes(**words, vllm_without=tuple(str(name) for name in without))


def _word(name: str, value: object) -> str:
    if value is None or value == "":
        return "auto"
    if isinstance(value, (Mapping, list, tuple, bool)):
        raise Impossible(f"{name} takes a word or a version, not {value!r}.")
    return str(value)
