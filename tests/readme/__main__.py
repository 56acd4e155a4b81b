"""Write the figures into the READMEs, or say with ``--check`` what differs from the golden runs."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.readme import blocks, breakdown, costs, lines, results
from tests.readme.golden import GoldenError, Goldens
from tests.readme.words import READMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).parents[2]
# What stands between the markers of each name, for the language of a README.
FIGURES: dict[str, Callable[[Goldens, str], str]] = {
    "h100": results.text,
    "start-up": breakdown.text,
    "costs": costs.text,
    "cpu": lines.cpu,
    "provision": lines.provision,
}


def made(goldens: Goldens, language: str) -> tuple[dict[str, str], list[str]]:
    """The text of each figure that its golden runs allow, and a sentence for each that they do not."""
    texts, problems = {}, []
    for name, figure in FIGURES.items():
        try:
            texts[name] = figure(goldens, language)
        except GoldenError as error:
            problems.append(str(error))
    return texts, problems


def differences(name: str, old: str, new: str) -> Iterator[str]:
    """The lines of a README that are not what the golden runs say (``-``), and what they say (``+``)."""
    yield from difflib.unified_diff(old.splitlines(), new.splitlines(), name, "the golden runs", n=0, lineterm="")


def main(words: Sequence[str]) -> int:
    """Give 0, or 1 where something differs, is missing, or was typed by hand: said on stdout, a line each."""
    parser = argparse.ArgumentParser(prog="python -m tests.readme", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; say what differs")
    parser.add_argument("--runs", type=Path, default=ROOT / "tests" / "data" / "runs", help="folder of golden runs")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the READMEs")
    asked = parser.parse_args(words)
    goldens, said = Goldens(asked.runs), []
    for name, language in READMES.items():
        path = asked.root / name
        old = path.read_text(encoding="utf-8")
        texts, problems = made(goldens, language)
        new = blocks.filled(old, texts)
        said += [*problems, *(f"{name}: {problem}" for problem in blocks.problems(new, list(FIGURES)))]
        if asked.check:
            said += differences(name, old, new)
        elif new != old:
            path.write_text(new, encoding="utf-8")
    sys.stdout.writelines(f"{line}\n" for line in dict.fromkeys(said))
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
