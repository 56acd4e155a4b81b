"""Read vLLM's argument definitions out of its source text, by `ast` alone: vLLM is never imported.

An entry of a table is a dict with `annotation` (source text) and, when the argument has one, either `default`
(a JSON value) or `default_source` (source text of a default that only running the code would tell).
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Entry = dict[str, Any]

# Fields of SamplingParams that are public by name and still set by vLLM itself in __post_init__.
NOT_INPUTS = frozenset({"output_text_buffer_length"})
# `default_factory=list` and so on; a set has no JSON form, an empty list stands for it.
EMPTY: Mapping[str, object] = {"list": [], "dict": {}, "set": [], "tuple": []}
# A default that points at a default that points at ... : vLLM has two steps, a loop would have more.
MAX_STEPS = 8


class Sources:
    """The classes, type aliases and constants that a set of vLLM modules defines at top level."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Parse `texts`, the source of each module; raises SyntaxError when one is not Python."""
        self.classes: dict[str, ast.ClassDef] = {}
        self.names: dict[str, ast.expr] = {}
        for text in texts:
            for node in ast.parse(text).body:
                if isinstance(node, ast.ClassDef):
                    self.classes.setdefault(node.name, node)
                elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    self.names.setdefault(node.targets[0].id, node.value)
                elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                    self.names.setdefault(node.target.id, node.value)

    def fields(self, class_name: str) -> dict[str, ast.AnnAssign]:
        """Annotated fields of a class by name, those of its base classes first."""
        found: dict[str, ast.AnnAssign] = {}
        node = self.classes.get(class_name)
        if node is None:
            return found
        for base in node.bases:
            if isinstance(base, ast.Name):
                found |= self.fields(base.id)
        for line in node.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                found[line.target.id] = line
        return found

    def default(self, node: ast.expr, steps: int = 0) -> Entry:
        """Resolve the expression of a default to `{"default": value}` or `{"default_source": text}`."""
        source = {"default_source": ast.unparse(node)}
        if steps > MAX_STEPS:
            return source
        if isinstance(node, ast.Call):
            inner = self._of_call(node)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            inner = self._of_field(node.value.id, node.attr)
        elif isinstance(node, ast.Name):
            inner = self.names.get(node.id)
        else:
            return _literal(node) or source
        return self.default(inner, steps + 1) if inner is not None else source

    def _of_field(self, class_name: str, field: str) -> ast.expr | None:
        found = self.fields(class_name).get(field)
        return found.value if found else None

    def _of_call(self, node: ast.Call) -> ast.expr | None:
        """Look through `field(default=x)`, `Field(x, ge=0)`, `get_field(Class, "name")`; None for others."""
        function = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        if function == "get_field" and isinstance(node.args[0], ast.Name):
            return self._of_field(node.args[0].id, ast.literal_eval(node.args[1]))
        if function not in {"field", "Field"}:
            return None
        named = {word.arg: word.value for word in node.keywords}
        factory = named.get("default_factory")
        if factory is None:
            return named.get("default", node.args[0] if node.args else None)
        if isinstance(factory, ast.Lambda):
            return factory.body
        if isinstance(factory, ast.Name) and factory.id in EMPTY:
            return ast.parse(repr(EMPTY[factory.id]), mode="eval").body
        return ast.Call(func=factory, args=[], keywords=[])

    def entry(self, annotation: ast.expr | None, default: ast.expr | None) -> Entry:
        """One row of a table, from the two expressions of `name: annotation = default`."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body  # a quoted forward reference
        text = ast.unparse(annotation) if annotation else "Any"
        return {"annotation": text} | (self.default(default) if default is not None else {})

    def aliases(self, annotations: Iterable[str]) -> dict[str, str]:
        """Type aliases (`CacheDType = Literal[...]`) that the annotations use, also through one another."""
        found: dict[str, str] = {}
        todo = list(annotations)
        while todo:
            for node in ast.walk(ast.parse(todo.pop(), mode="eval")):
                if isinstance(node, ast.Name) and node.id in self.names and node.id not in found:
                    found[node.id] = ast.unparse(self.names[node.id])
                    todo.append(found[node.id])
        return found


def _literal(node: ast.expr) -> Entry | None:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        value = _product(node)
        if value is None:
            return None
    return {"default": _plain(value)}


def _product(node: ast.expr) -> int | None:
    """Multiply out `16 * 1024 * 1024` and `1024 ** 3`, the only arithmetic that vLLM has in defaults."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if not isinstance(node, ast.BinOp):
        return None
    left, right = _product(node.left), _product(node.right)
    if left is None or right is None:
        return None
    if isinstance(node.op, ast.Pow):
        return int(left**right) if 0 <= right <= 64 else None  # noqa: PLR2004 - no default needs a larger power
    return left * right if isinstance(node.op, ast.Mult) else None


def _plain(value: object) -> object:
    """Tuples and sets as lists: what JSON can hold."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value


def engine_arguments(sources: Sources) -> dict[str, Entry]:
    """Every field of EngineArgs, and the parameters of `LLM(...)` that EngineArgs lacks (`"only": "LLM"`)."""
    found = {name: sources.entry(node.annotation, node.value) for name, node in sources.fields("EngineArgs").items()}
    for name, entry in _parameters(sources, "LLM").items():
        found.setdefault(name, entry | {"only": "LLM"})
    return {name: entry for name, entry in found.items() if not name.startswith("_")}


def sampling_arguments(sources: Sources) -> dict[str, Entry]:
    """Every field of SamplingParams that a user can pass."""
    return {
        name: sources.entry(node.annotation, node.value)
        for name, node in sources.fields("SamplingParams").items()
        if not name.startswith("_") and name not in NOT_INPUTS
    }


def _parameters(sources: Sources, class_name: str) -> dict[str, Entry]:
    for node in sources.classes[class_name].body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            plain, named = node.args.args, node.args.kwonlyargs
            first = len(plain) - len(node.args.defaults)
            defaults = [None] * first + list(node.args.defaults) + list(node.args.kw_defaults)
            pairs = zip(plain + named, defaults, strict=True)
            return {arg.arg: sources.entry(arg.annotation, value) for arg, value in pairs if arg.arg != "self"}
    return {}
