"""``labctl runs``: the runs that are here, or on hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from labctl.commands.options import JsonOption, complain_of, print_json, print_table, project, say

if TYPE_CHECKING:
    from labctl.inventory import Host

_COLUMNS = ["run", "host", "status", "model", "tok/s", "note"]


def runs(
    host: Annotated[
        str | None, typer.Option("--host", metavar="HOSTS", help="Ask these hosts instead (gpu1,gpu2, a group, all).")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the local runs, newest last; with --host those that hosts hold, whoever started them.

    Example: labctl runs
    """
    from labctl import runs as local

    rows, code = (local.listing(project().runs_dir), 0) if host is None else _asked(host)
    if json:
        print_json(rows)
    else:
        for row in rows:
            row["tok/s"] = row.pop("throughput")
            row["model"] = {True: "synthetic", False: "real"}.get(row.pop("synthetic"), "")
        there = [row for row in rows if row.get("here") is False]
        print_table(rows, _COLUMNS if host is None else [*_COLUMNS[:-1], "here", "note"])
        if there:
            verb = "attach" if there[-1]["status"] == "running" else "fetch"
            say(f"to bring one here:\n  labctl {verb} {there[-1]['run']} --host {there[-1]['host']}")
    if code:
        raise typer.Exit(code)


def _asked(pattern: str) -> tuple[list[dict[str, Any]], int]:
    """Rows of all hosts, and the greatest code of those that could not be asked."""
    from labctl import fleet

    outcomes = fleet.each(project().hosts(pattern), lambda target, _: _of_host(target))
    for one in outcomes:
        if one.error is not None:
            if len(outcomes) == 1:
                raise one.error
            complain_of(one.host.name, str(one.error), one.next_command)
        elif not one.value:
            say(f"{one.host.name} has no runs")
    rows = [row for one in outcomes for row in one.value or []]
    return rows, max(one.code for one in outcomes)


def _of_host(target: Host) -> list[dict[str, Any]]:
    """One row a run on the host; what died there without a word is sealed as lost first."""
    from labctl import host_runs
    from labctl.launchers import launcher
    from labctl.sessions import open_session

    with open_session(target) as session:
        found = host_runs.listing(session, launcher("venv", target, session), target)
    here = project().runs_dir
    for row in found:
        fetched = (here / row["run"] / "SHA256SUMS").is_file()
        row["here"] = fetched
    return found
