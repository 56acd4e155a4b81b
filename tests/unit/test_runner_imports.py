"""The runner imports only the standard library and itself at module level; the probe parses on Python 3.6."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).parents[2] / "labctl" / "runner"
FILES = sorted(RUNNER.rglob("*.py"))


def imported(tree: ast.Module) -> set[str]:
    """Modules imported when the file is imported: function bodies and TYPE_CHECKING blocks left out."""
    found: set[str] = set()
    queue: list[ast.AST] = list(tree.body)
    while queue:
        node = queue.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        queue += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_only_the_standard_library_and_itself(path: Path) -> None:
    names = imported(ast.parse(path.read_text(encoding="utf-8")))
    foreign = {n for n in names if n.split(".")[0] not in sys.stdlib_module_names and not n.startswith("labctl.runner")}
    assert foreign == set()


def test_the_probe_is_python_3_6() -> None:
    tree = ast.parse((RUNNER / "probe.py").read_text(encoding="utf-8"), feature_version=(3, 6))
    assert {name.split(".")[0] for name in imported(tree)} <= set(sys.stdlib_module_names)
    assert not any(isinstance(node, (ast.AnnAssign, ast.NamedExpr)) for node in ast.walk(tree))
