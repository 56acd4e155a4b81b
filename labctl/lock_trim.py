# ruff: noqa: T201 - a tool for developers: printing is its user interface
"""Take out of a CUDA lock what no host of ours could install; for developers, from `make lock`.

python -m labctl.lock_trim ansible/locks/vllm-0.32.0-cuda.txt

uv writes the hash of every file of a release, for each system there is. The locks are for CPython on Linux x86_64:
this keeps the hashes of wheels for that (of a source archive only where there is no wheel), drops what every marker
says of that, and prints which Pythons find a wheel of everything and the glibc they need: `labctl/drivers.py` has both.
"""

from __future__ import annotations

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from labctl import locks
from labctl.argtables.wheels import index_url, listing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from packaging.tags import Tag

    from labctl.argtables.wheels import Wheel

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# Up to Ubuntu 24.04 and Debian 13's; an older tag is what a host must have at least.
NEWEST_GLIBC = 39
OLD_NAMES = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}
# True of every machine that the locks are for.
ALWAYS = re.compile(
    r"(implementation_name|platform_machine|platform_python_implementation|sys_platform) [!=]= '[a-zA-Z0-9_]+'"
)
AT_ONCE = 8


class Trimmed(NamedTuple):
    """An entry with the files that are left, and what they ask: a glibc for each Python that a wheel is for."""

    entry: locks.Entry
    glibc: dict[str, int]
    source: bool


def tags(python: str) -> dict[Tag, int]:
    """Tags of wheels that a Python on Linux x86_64 takes, each with the minor of the glibc that it needs."""
    from packaging.tags import compatible_tags, cpython_tags

    numbers = tuple(int(part) for part in python.split("."))
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(NEWEST_GLIBC, 4, -1)]
    platforms += [f"{name}_x86_64" for name in OLD_NAMES] + ["linux_x86_64"]
    found = [
        *cpython_tags(numbers, platforms=platforms),
        *compatible_tags(numbers, f"cp{numbers[0]}{numbers[1]}", platforms),
    ]
    return {tag: _minor(tag.platform) for tag in found}


def _minor(platform: str) -> int:
    if found := re.match(r"manylinux_2_(\d+)_", platform):
        return int(found[1])
    return OLD_NAMES.get(platform.removesuffix("_x86_64"), 0)


def trim(entry: locks.Entry, files: list[Wheel], known: dict[str, dict[Tag, int]]) -> Trimmed:
    """An entry with the hashes of what can be installed; all of them where the index shows none of them."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    glibc: dict[str, int] = {}
    hashes, source = [], []
    for file in files:
        if f"sha256:{file.sha256}" not in entry.hashes:
            continue
        if not file.filename.endswith(".whl"):
            source.append(f"sha256:{file.sha256}")
            continue
        try:
            _, _, _, named = parse_wheel_filename(file.filename)
        except InvalidWheelFilename:
            continue
        needs = {
            python: min(table[tag] for tag in named & table.keys())
            for python, table in known.items()
            if named & table.keys()
        }
        hashes += [f"sha256:{file.sha256}"] if needs else []
        glibc.update({python: min(minor, glibc.get(python, minor)) for python, minor in needs.items()})
    kept = sorted(set(hashes or source)) or list(entry.hashes)
    return Trimmed(entry._replace(hashes=tuple(kept), marker=simple(entry.marker)), glibc, not hashes)


def simple(marker: str) -> str:
    """A marker without what is true of every machine that the lock is for."""
    if " or " in marker:
        return marker
    return " and ".join(part for part in marker.replace('"', "'").split(" and ") if not ALWAYS.fullmatch(part))


def summary(trimmed: Sequence[Trimmed]) -> Iterator[str]:
    """One line a Python: the glibc that the wheels need together, or what has no wheel for it."""
    for python in PYTHONS:
        here = [one for one in trimmed if locks.holds(one.entry.marker, python)]
        lacks = [one.entry.name for one in here if python not in one.glibc]
        minor = max((one.glibc[python] for one in here if python in one.glibc), default=0)
        worst = [one.entry.name for one in here if one.glibc.get(python) == minor]
        yield (
            f"Python {python}: "
            + (f"no wheel of {', '.join(lacks)}; " if lacks else "")
            + f"glibc 2.{minor} ({', '.join(worst[:4])})"
        )


def main(paths: Sequence[str]) -> int:
    """Trim each lock in place; exit code 1 when it cannot."""
    os.environ["PIP_INDEX_URL"] = index_url()  # pip takes two seconds to say it: once is enough
    known = {python: tags(python) for python in PYTHONS}
    for path in map(Path, paths):
        entries = locks.parse(path.read_text(encoding="utf-8"))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            trimmed = list(pool.map(lambda entry: trim(entry, listing(entry.name), known), entries))
        path.write_text("".join(one.entry.text() for one in trimmed), encoding="utf-8")
        print(f"{path.name}: {len(trimmed)} packages, {path.stat().st_size:,} bytes")
        print(*summary(trimmed), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
