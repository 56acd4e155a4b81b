"""``labctl runs``: the runs that are here."""

from __future__ import annotations

from labctl.commands.options import JsonOption, print_json, print_table, project


def runs(json: JsonOption = False) -> None:
    """List the local runs, newest last.

    Example: labctl runs
    """
    from labctl import runs as local

    rows = local.listing(project().runs_dir)
    if json:
        print_json(rows)
        return
    for row in rows:
        row["tok/s"] = row.pop("throughput")
        row["model"] = {True: "synthetic", False: "real"}.get(row.pop("synthetic"), "")
    print_table(rows, ["run", "host", "status", "model", "tok/s", "note"])
