"""What arguments a version of vLLM takes: tables read from its published wheels, one JSON file a version.

Nothing here needs vLLM, or anything beyond the standard library. `labctl.argtables.generate` writes
the tables.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from labctl.argtables.values import parse_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.resources.abc import Traversable

__all__ = ["SCHEMA", "ArgTable", "Argument", "check_value", "load", "parse_value", "unknown", "versions"]

SCHEMA = 1
NEAREST = 3
FILE_NAME = re.compile(r"vllm-(.+)\.json")
WORD = re.compile(r"[A-Za-z_]\w*")
QUOTED = re.compile(r"('[^']*')")


@dataclass(frozen=True)
class Argument:
    """One argument, as vLLM's source text has it.

    `annotation` has vLLM's own aliases (`CacheDType`) spelled out, `source` is as written. A default that
    only running the code would tell stands as source text in `default_source` (`"CompilationConfig()"`) and
    `default` is then None. `only_llm`: a parameter of `LLM(...)` that the engine does not have.
    """

    annotation: str
    source: str
    default: object = None
    default_source: str | None = None
    only_llm: bool = False


@dataclass(frozen=True)
class ArgTable:
    """Arguments of one vLLM version by name.

    `exact` is False when the version asked for has no table and this one, `vllm`, is the nearest below it.
    """

    vllm: str
    wheel: str
    wheel_sha256: str
    engine: Mapping[str, Argument]
    sampling: Mapping[str, Argument]
    exact: bool


@cache
def versions() -> tuple[str, ...]:
    """Versions that there is a table for, ascending by release."""
    names = (FILE_NAME.fullmatch(item.name) for item in _data().iterdir())
    return tuple(sorted((name[1] for name in names if name), key=_release))


@cache
def load(version: str) -> ArgTable:
    """Give the table of `version` ("0.32.0", "0.32.0+cpu"), or of the nearest lower version that has one.

    Raises LookupError with a readable sentence: `version` is older than every table, or no version at all.
    """
    public = version.strip().removeprefix("v").partition("+")[0]
    if not _release(public):
        message = f"'{version}' is not a version of vLLM."
        raise LookupError(message)
    known = [name for name in versions() if _release(name) <= _release(public)]
    if not known:
        message = f"There is no table of arguments for vLLM {version}: the oldest is {versions()[0]}."
        raise LookupError(message)
    return _read(known[-1], exact=known[-1] == public)


def unknown(names: Iterable[str], known: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Names that are not in `known`, in order, each with up to three known names that look like it."""
    from difflib import get_close_matches

    known = list(known)
    return [(name, get_close_matches(name.replace("-", "_"), known, NEAREST)) for name in names if name not in known]


def check_value(name: str, text: str, known: Mapping[str, Argument]) -> object:
    """Convert the text of `name=text`; `known` is `table.engine` or `table.sampling`.

    Raises ValueError with a readable sentence that names the argument, KeyError when `known` lacks the name.
    """
    argument = known[name]
    # vLLM writes `max_model_len: int = None`: a default of None is allowed whatever the annotation says.
    allows_none = argument.default is None and argument.default_source is None
    annotation = f"{argument.annotation} | None" if allows_none else argument.annotation
    try:
        return parse_value(annotation, text)
    except ValueError as error:
        message = f"{name}: {error}"
        raise ValueError(message) from None


def _data() -> Traversable:
    return resources.files(__name__) / "data"


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]{1,9}", version))


@cache
def _read(version: str, *, exact: bool) -> ArgTable:
    content = json.loads((_data() / f"vllm-{version}.json").read_text(encoding="utf-8"))
    aliases: dict[str, str] = content["aliases"]
    return ArgTable(
        vllm=content["vllm"],
        wheel=content["wheel"],
        wheel_sha256=content["wheel_sha256"],
        engine={name: _argument(entry, aliases) for name, entry in content["engine"].items()},
        sampling={name: _argument(entry, aliases) for name, entry in content["sampling"].items()},
        exact=exact,
    )


def _argument(entry: dict[str, Any], aliases: dict[str, str]) -> Argument:
    return Argument(
        annotation=_spell_out(entry["annotation"], aliases),
        source=entry["annotation"],
        default=entry.get("default"),
        default_source=entry.get("default_source"),
        only_llm=entry.get("only") == "LLM",
    )


def _spell_out(annotation: str, aliases: dict[str, str]) -> str:
    """Replace aliases by what they stand for, also inside one another; quoted values of a Literal stay."""

    def meaning(word: re.Match[str]) -> str:
        return _spell_out(aliases[word[0]], aliases) if word[0] in aliases else word[0]

    parts = QUOTED.split(annotation)
    parts[::2] = [WORD.sub(meaning, part) for part in parts[::2]]
    return "".join(parts)
