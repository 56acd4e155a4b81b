"""Which points a grid has: the values of each varied setting, and their product. Pure."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TABLES = ("engine", "sampling", "workload")
SINGLE = ("model", "seed")
# A grid of more points would be a mistake: the fastest engine takes half a minute each.
MOST = 500
_KINDS = f"{', '.join(f'{name}.KEY' for name in TABLES)}, {' or '.join(SINGLE)}"


class Axis(NamedTuple):
    """One varied setting (``engine.max_num_seqs``) and its values, as numbers and booleans where they are such."""

    key: str
    values: tuple[Any, ...]


def axes(lab: Mapping[str, Any], texts: Iterable[str]) -> list[Axis]:
    """The axes of a lab's ``[vary]``, with those of ``--vary KEY=V1,V2`` in their place or after them.

    Raises UsageError for a key that cannot be varied, a value named twice, or too many points.
    """
    found = {key: Axis(key, tuple(values)) for key, values in _of_lab(lab.get("vary", {}), str(lab.get("lab")))}
    given = [_of_text(text) for text in texts]
    for one in given:
        if sum(one.key == other.key for other in given) > 1:
            raise UsageError(f"--vary names {one.key} twice: write its values behind one another, with commas")
        found[one.key] = one
    for axis in found.values():
        _check(axis)
    points = 1
    for axis in found.values():
        points *= len(axis.values)
    if points > MOST:
        raise UsageError(f"that grid has {points:,} points; the most are {MOST}")
    return list(found.values())


def points(varied: Iterable[Axis]) -> list[dict[str, Any]]:
    """Every combination as {key: value}; the last axis changes fastest."""
    varied = list(varied)
    return [
        dict(zip([axis.key for axis in varied], values, strict=True))
        for values in itertools.product(*(axis.values for axis in varied))
    ]


def lay(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """What ``labs.build`` takes for one point: ``over`` with the point's values laid on top.

    Raises UsageError where ``over`` sets what is varied.
    """
    made = dict(over)
    for key, value in values.items():
        table, _, name = key.partition(".")
        if not name:
            if made.get(table) is not None:
                raise UsageError(f"{table} is varied: --{table} cannot set it beside that")
            made[table] = _single(table, value)
            continue
        given = list(made.get(table) or [])
        if any(text.partition("=")[0].strip().lstrip("-").replace("-", "_") == name for text in given):
            raise UsageError(f"{key} is varied: --{table} {name}=… cannot set it beside that; --vary {key}=… can")
        made[table] = [*given, f"{name}={text_of(value)}"]
    return made


def text_of(value: object) -> str:
    """A value as KEY=VALUE has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def words(values: Mapping[str, Any]) -> str:
    """A point in a few words: ``max_num_seqs=16 dtype=auto``."""
    return " ".join(f"{key.rpartition('.')[2]}={text_of(value)}" for key, value in values.items())


def _single(name: str, value: Any) -> Any:
    if name != "seed":
        return text_of(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"a seed is a whole number, not {value!r}")
    return value


def _of_lab(table: object, lab: str) -> Iterable[tuple[str, list[Any]]]:
    """(key, values) of ``[vary]``: tables of lists, or lists."""
    if not isinstance(table, dict):
        raise UsageError(f"the lab {lab}: vary must be a table")
    for name, held in table.items():
        rows = [(f"{name}.{key}", values) for key, values in held.items()] if isinstance(held, dict) else [(name, held)]
        for key, values in rows:
            if not isinstance(values, list):
                raise UsageError(f"the lab {lab}: {key} in [vary] must be a list of values")
            yield key, values


def _of_text(text: str) -> Axis:
    key, mark, values = text.partition("=")
    table, dot, name = key.strip().partition(".")
    if not mark:
        raise UsageError(f"--vary takes KEY=VALUE,VALUE (engine.max_num_seqs=16,64), not {text!r}")
    return Axis(f"{table}{dot}{name.lstrip('-').replace('-', '_')}", tuple(map(_value, _split(values))))


def _split(text: str) -> list[str]:
    """Values between commas; with brackets, braces or quotes in them each is JSON."""
    if any(sign in text for sign in '[{"'):
        try:
            found = json.loads(f"[{text}]")
        except (ValueError, RecursionError):
            pass  # such as fp8,["a"]: plain words among them
        else:
            return [text_of(one) for one in found]
    return [part.strip() for part in text.split(",")]


def _value(text: str) -> Any:
    """A number, a boolean or null where the text is exactly that; else the text, for vLLM's table to read."""
    try:
        value = json.loads(text, parse_constant=_none)
    except (ValueError, RecursionError):
        return text
    return value if text_of(value) == text and not isinstance(value, str) else text


def _none(_: str) -> None:
    raise ValueError


def _check(axis: Axis) -> None:
    table, _, name = axis.key.partition(".")
    if (table not in TABLES or not name) and axis.key not in SINGLE:
        near = f"; did you mean engine.{axis.key}?" if axis.key.isidentifier() else ""
        raise UsageError(f"{axis.key or 'nothing'} cannot be varied, but {_KINDS}{near}")
    if not axis.values or any(value == "" for value in axis.values):
        raise UsageError(f"--vary {axis.key} has an empty value: write {axis.key}=16,64")
    seen = [text_of(value) for value in axis.values]
    twice = next((one for one in seen if seen.count(one) > 1), None)
    if twice is not None:
        raise UsageError(f"--vary {axis.key} names {twice} twice")
