"""Turn the text of `KEY=VALUE` into the value that a vLLM argument wants, by the argument's annotation.

The rules follow the annotation of vLLM's source text, not its run-time checks: whether 0.92 is a sensible
share of GPU memory is vLLM's to say.
"""

from __future__ import annotations

import ast
import json
import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BOOLEANS = {"true": True, "false": False}
NONE_WORDS = {"none", "null"}
# What the names of an annotation stand for; all other names are `other`: an enum or a class of vLLM.
KINDS = {
    **dict.fromkeys(("str", "Path"), "str"),
    **dict.fromkeys(("int", "StrictInt"), "int"),
    **dict.fromkeys(("dict", "Mapping"), "object"),
    **dict.fromkeys(("list", "set", "tuple", "Sequence", "ndarray"), "list"),
    # What no text can express: a function, a class.
    **dict.fromkeys(("Callable", "type"), "unwritable"),
    "bool": "bool",
    "float": "float",
}
# Classes of vLLM that take a JSON object: CompilationConfig, StructuredOutputsParams, QuantizationConfigArgs.
OBJECT_SUFFIXES = ("Config", "Params", "Args")
IN_WORDS = {
    "none": "none",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "list": 'a JSON list such as ["a", "b"]',
    "object": 'a JSON object such as {"mode": 0}',
}
LONGEST_QUOTE = 60


class Wanted(NamedTuple):
    """What an annotation accepts: kinds of values, and the values that its Literals list."""

    kinds: frozenset[str]
    literals: tuple[object, ...]


def parse_value(annotation: str, text: str) -> object:
    """Convert `text` to a value that `annotation` accepts and that JSON can hold.

    `int` with "2048" gives 2048, `bool` with "true" gives True, `str | None` with "none" gives None; a dict,
    a list or a configuration class wants JSON. A set is returned as a list. Raises ValueError with a readable
    sentence.
    """
    wanted = _wanted(annotation)
    word = text.strip()
    if "none" in wanted.kinds and word.lower() in NONE_WORDS:
        return None
    for value in wanted.literals:
        if word == str(value):
            return value
    value = _from_json(wanted, word) if word.startswith(("{", "[")) else _from_word(wanted, word)
    if value is not None:
        return value
    if wanted.kinds & {"str", "other"}:
        return text if "str" in wanted.kinds else word
    quoted = word if len(word) <= LONGEST_QUOTE else word[:LONGEST_QUOTE] + "..."
    message = f"'{quoted}' is not {_in_words(wanted)}."
    raise ValueError(message)


def _from_word(wanted: Wanted, word: str) -> object:
    """Read a boolean or a number; None when the text is neither or neither is wanted."""
    kinds = wanted.kinds
    if "bool" in kinds and word.lower() in BOOLEANS:
        return BOOLEANS[word.lower()]
    if "bool" in kinds and word in ("0", "1") and not kinds & {"int", "float", "str"}:
        return word == "1"
    if "int" in kinds or ("other" in kinds and "str" not in kinds):  # an enum of vLLM may be one of numbers
        try:
            return int(word)
        except ValueError:
            pass
    if "float" in kinds:
        try:
            number = float(word)
        except ValueError:
            return None
        return number if math.isfinite(number) else None  # JSON has no infinity, and no argument means one
    return None


def _from_json(wanted: Wanted, word: str) -> object:
    """Read a JSON object or list; None when it is broken or the other of the two is wanted."""
    if not wanted.kinds & {"object" if word.startswith("{") else "list", "other"}:
        return None
    try:
        return json.loads(word, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        if "str" in wanted.kinds:
            return None
        message = f"This is not valid JSON ({error}): {word[:LONGEST_QUOTE]}"
        raise ValueError(message) from None


def _refuse(constant: str) -> object:
    message = f"{constant} is no JSON value"
    raise ValueError(message)


def _wanted(annotation: str) -> Wanted:
    try:
        tree = ast.parse(annotation, mode="eval").body
    except SyntaxError:
        return Wanted(frozenset({"other"}), ())  # a table that a newer generator wrote: let vLLM judge
    found = list(_walk(tree))
    kinds = frozenset(item for item in found if isinstance(item, str))
    return Wanted(kinds, tuple(item.value for item in found if isinstance(item, ast.Constant)))


def _walk(node: ast.expr) -> Iterator[str | ast.Constant]:
    """Alternatives of an annotation: the kind of each, or the constant for each value of a Literal."""
    if isinstance(node, ast.BinOp):
        yield from _walk(node.left)
        yield from _walk(node.right)
    elif isinstance(node, ast.Constant):
        yield "none" if node.value is None else "other"
    elif isinstance(node, ast.Subscript):
        yield from _walk_subscript(node)
    else:
        yield _kind(_name(node))


def _walk_subscript(node: ast.Subscript) -> Iterator[str | ast.Constant]:
    name = _name(node.value)
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        for item in inner:
            # Literal["auto", Literal["generate", "pooling"]]: what spelling out an alias leaves
            yield from [item] if isinstance(item, ast.Constant) else _walk(item)
    elif name in {"Union", "Optional"}:
        yield from ["none"] if name == "Optional" else []
        for item in inner:
            yield from _walk(item)
    elif name == "Annotated":
        yield from _walk(inner[0])
    else:
        yield _kind(name)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _kind(name: str) -> str:
    return KINDS.get(name) or ("object" if name.endswith(OBJECT_SUFFIXES) else "other")


def _in_words(wanted: Wanted) -> str:
    parts = [f"one of {', '.join(map(str, wanted.literals))}"] if wanted.literals else []
    parts += [words for kind, words in IN_WORDS.items() if kind in wanted.kinds - {"none"}]
    parts += ["none"] if "none" in wanted.kinds else []
    return _either(parts) or "a value that can be written on a command line"


def _either(parts: Iterable[str]) -> str:
    *most, last = [*parts] or [""]
    return f"{', '.join(most)} or {last}" if most else last
