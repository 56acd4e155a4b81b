"""``labctl import``: take in runs that travelled back by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labctl.commands.options import JsonOption, complain, print_json, project, say
from labctl.errors import EXIT_OK, LabError

if TYPE_CHECKING:
    from labctl.importing import Taken

_WORDS = {"taken": "taken in", "completed": "completed", "here": "already here", "refused": "refused"}


def import_(
    archive: Annotated[
        list[Path], typer.Argument(metavar="ARCHIVE|DIR", help="A .tar (.gz, .xz, .bz2), a .zip, or a folder.")
    ],
    json: JsonOption = False,
) -> None:
    """Take in the runs of an archive or a folder: seals checked, reports built, nothing overwritten.

    Exit status: 8 what a run holds is not what was sealed, or another content than the run that is here; 9 it cannot
    be read.

    Example: labctl import runs.tar.gz
    """
    from labctl import importing

    runs_dir = project().runs_dir
    rows, codes = [], [EXIT_OK]
    for source in archive:
        for one in importing.take(source, runs_dir):
            report = _report(one)
            rows.append({"run": one.run, "came": one.came, "sealed": one.sealed, "note": one.note, "report": report})
            codes.append(one.error.exit_code if one.error else EXIT_OK)
            if not json:
                _print(one, report)
    if json:
        print_json(rows)
    elif any(row["report"] for row in rows):
        say("the runs that are here:\n  labctl runs")
    if max(codes):
        raise typer.Exit(max(codes))


def _report(one: Taken) -> str | None:
    from labctl.commands.ending import near
    from labctl.commands.remote import page_of

    if one.path is None or one.came == "here":
        return None
    try:
        return str(near(page_of(one.path)))
    except LabError as error:
        complain(str(error), f"labctl report {one.run}")
        return None


def _print(one: Taken, report: str | None) -> None:
    from labctl.report.text import line

    if one.error:
        complain(f"{one.run}: {one.note}", one.error.next_command)
        return
    note = f" ({line(one.note, 400)})" if one.note and one.came != "here" else ""
    typer.echo(f"{one.run}: {_WORDS[one.came]}{note}" + (f"; report: {report}" if report else ""))
