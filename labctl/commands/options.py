"""Options that several verbs share, and how a verb prints."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from labctl.inventory import Host

_ACTIVE = re.compile("[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")

_HOSTS = "A host or group of inventory.ini, several of them (gpu1,gpu2), all: Ansible's patterns."
HostOption = Annotated[str, typer.Option("--host", metavar="HOSTS", help=_HOSTS)]
HostArgument = Annotated[str, typer.Argument(metavar="HOSTS", help=_HOSTS)]
RunHostOption = Annotated[
    str | None, typer.Option("--host", help="The host that has the run, where it was not started from here.")
]
PatienceOption = Annotated[
    float, typer.Option("--patience", metavar="SECONDS", min=0, help="How long to try again when the line is cut.")
]
RunArgument = Annotated[
    str | None, typer.Argument(help="A run id, any part of one, or a directory; the newest run if left out.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@dataclass(frozen=True)
class Project:
    """The folder that holds inventory.ini: runs lie beside it."""

    inventory: Path

    @property
    def folder(self) -> Path:
        """The folder itself."""
        return self.inventory.parent

    @property
    def runs_dir(self) -> Path:
        """Where fetched runs are kept."""
        return self.folder / "runs"

    def host(self, name: str) -> Host:
        """One host by name. Raises HostUnknownError naming the hosts that exist."""
        from labctl import inventory

        return inventory.resolve(name, self.inventory)

    def hosts(self, pattern: str) -> list[Host]:
        """Every host of an Ansible pattern. Raises HostUnknownError."""
        from labctl import inventory

        return inventory.select(pattern, self.inventory)


def project() -> Project:
    """The project of the current directory. Raises HostUnknownError where there is no inventory."""
    from labctl import inventory

    return Project(inventory.find())


def run_path(name: str | None) -> Path:
    """The directory of a run: any run directory by its path, else a run of this project."""
    from labctl import runs

    if name and runs.is_run(Path(name)):
        return Path(name).resolve()
    return runs.find(project().runs_dir, name)


def print_json(value: object) -> None:
    """Print machine-readable output."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    # Control codes that JSON lets through would act on a terminal; escaped, they mean the same.
    typer.echo(_ACTIVE.sub(lambda hit: f"\\u{ord(hit[0]):04x}", text))


def print_table(rows: list[dict[str, Any]], columns: list[str], *, cut: bool = True) -> None:
    """Print rows as aligned columns, cut to the terminal's width or, not ``cut``, broken so that all can be read."""
    import shutil

    limit = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 10_000
    for text in table_lines(rows, columns, limit, cut=cut):
        typer.echo(text)


def table_lines(rows: list[dict[str, Any]], columns: list[str], limit: int, *, cut: bool) -> list[str]:
    """The lines of a table for a terminal of ``limit`` columns.

    One that is too wide and must not be cut has its last column on lines of its own; where that is not enough, each
    row is a block, a line for each of its values.
    """
    from labctl.report.text import line

    cells = [[line(row.get(name), 400) for name in columns] for row in rows]
    lines = _aligned([columns, *cells])
    if cut:
        return [text if len(text) <= limit else text[: limit - 1] + "…" for text in lines]
    if max(map(_width, lines)) <= limit:
        return lines
    lines = _aligned([row[:-1] for row in [columns, *cells]])
    if max(map(_width, lines)) <= limit:
        below = [_below(row[-1], limit) for row in [columns, *cells]]
        return [text for pair in zip(lines, below, strict=True) for text in pair if text]
    blocks = [_aligned([[name, cell] for name, cell in zip(columns, row, strict=True) if cell]) for row in cells]
    return [text for block in blocks for text in (*block, "")]


def _below(text: str, limit: int) -> str:
    """A cell on lines of its own, broken at blanks: a path or a name stays whole, to be copied."""
    import textwrap

    broken = textwrap.wrap(text, max(limit - 4, 1), break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"    {part}" for part in broken)


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _width(text: str) -> int:
    """Columns that a terminal takes for a text: Chinese signs take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def say(text: str) -> None:
    """A line for people, on stderr, so that stdout stays for results; a host's words in it may hold anything."""
    from labctl.report.text import clean

    typer.echo(clean(text), err=True)


def complain_of(host: str, what: str, next_command: str) -> None:
    """What went wrong with one of several hosts; its name stands first, and once."""
    complain(what if what.startswith(f"{host} ") else f"{host}: {what}", next_command)


def complain(what: str, next_command: str) -> None:
    """What went wrong and the next command, on stderr."""
    import shutil

    from labctl.report.text import clean

    # Further lines may be a host's: none of them may read like one of labctl's own.
    say("labctl: " + clean(what).replace("\n", "\n  | "))
    if next_command:
        # Before its environment is activated, labctl is found only where it lies.
        there = next_command if shutil.which("labctl") else next_command.replace("labctl ", f"{sys.argv[0]} ", 1)
        say(f"  next: {there}")
