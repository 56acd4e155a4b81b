# ruff: noqa: T201 - a tool for developers: printing is its user interface
"""Write the tables of vLLM's arguments from its published wheels; for developers, after a vLLM release.

python -m labctl.argtables.generate 0.33.0 0.34.0   # these versions
python -m labctl.argtables.generate                 # again, each version that there is a table for
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.argtables import SCHEMA, versions
from labctl.argtables.extract import Sources, engine_arguments, sampling_arguments
from labctl.argtables.wheels import Wheel, published, read

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = Path(__file__).parent / "data"
WANTED = (
    "vllm/config/",
    "vllm/engine/arg_utils.py",
    "vllm/entrypoints/llm.py",
    "vllm/sampling_params.py",
)
AT_ONCE = 4  # wheels read side by side: polite to the index, and a minute shorter


def table(version: str, wheel: Wheel) -> dict[str, Any]:
    """Read one wheel and build its table; raises OSError when the wheel cannot be read in parts."""
    texts = read(wheel, WANTED)
    sources = Sources(texts[name] for name in sorted(texts))
    engine, sampling = engine_arguments(sources), sampling_arguments(sources)
    used = (entry["annotation"] for entry in [*engine.values(), *sampling.values()])
    return {
        "schema": SCHEMA,
        "vllm": version,
        "wheel": wheel.filename,
        "wheel_sha256": wheel.sha256,
        "aliases": sources.aliases(used),
        "engine": engine,
        "sampling": sampling,
    }


def render(content: dict[str, Any]) -> str:
    """JSON with one argument a line, sorted: small, and a diff of two versions reads as a list of changes."""
    lines = []
    for key, value in content.items():
        if isinstance(value, dict):
            rows = [f"{_dumps(name)}:{_dumps(value[name])}" for name in sorted(value)]
            lines.append(_dumps(key) + ":{\n" + ",\n".join(rows) + "\n}")
        else:
            lines.append(f"{_dumps(key)}:{_dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)


def write(version: str, wheel: Wheel) -> Path:
    """Read one wheel and write its table to the package data; returns the file."""
    path = DATA / f"vllm-{version}.json"
    path.write_text(render(table(version, wheel)), encoding="utf-8")
    return path


def main(arguments: Sequence[str]) -> int:
    """Write the table of each version named (default: those that exist); exit code 1 when it cannot."""
    try:
        write_all(list(arguments) or list(versions()))
    except (LookupError, OSError) as error:
        print(error.args[0] if error.args else error, file=sys.stderr)
        return 1
    return 0


def write_all(asked: list[str]) -> None:
    """Write the tables of the versions in `asked`; LookupError when the index has no wheel of one of them."""
    wheels = {str(version): wheel for version, wheel in published().items()}
    missing = [version for version in asked if version not in wheels]
    if missing:
        newest = ", ".join(list(wheels)[-5:])
        message = f"No x86_64 wheel of vLLM {', '.join(missing)} in the index. The newest are {newest}."
        raise LookupError(message)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for path in pool.map(lambda version: write(version, wheels[version]), asked):
            print(f"{path.name}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
