"""``labctl ps``: the servers that are kept up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from labctl.commands.options import JsonOption, complain_of, print_json, print_table, project, say

if TYPE_CHECKING:
    from labctl.inventory import Host

# What stands last is cut on a narrow terminal.
_COLUMNS = ["name", "host", "state", "address", "restarts", "model", "since", "GPU GiB", "run"]
_GIB = 1024**3


def ps(
    host: Annotated[
        str | None,
        typer.Option(
            "--host", metavar="HOSTS", help="Ask these (gpu1,gpu2, a group, all); else where you started one."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the kept servers that run on hosts, whoever started them.

    Example: labctl ps --host all
    """
    from labctl import api_keys, fleet

    place = project()
    api_keys.sweep(place.folder, place.runs_dir)
    targets = place.hosts(host) if host else _where_started()
    outcomes = fleet.each(targets, lambda target, _: _of_host(target))
    for one in outcomes:
        if one.error is not None:
            if len(outcomes) == 1:
                raise one.error
            complain_of(one.host.name, str(one.error), one.next_command)
    rows = [row for one in outcomes for row in one.value or []]
    if json:
        print_json(rows)
    elif rows:
        print_table([_shown(row) for row in rows], _COLUMNS)
    else:
        asked = f" on {', '.join(one.host.name for one in outcomes)}" if outcomes else ""
        say(f"no kept server runs{asked}" + ("" if host else "; others' are asked for by --host"))
    code = max((one.code for one in outcomes), default=0)
    if code:
        raise typer.Exit(code)


def _where_started() -> list[Host]:
    """The hosts of the servers that were started from here and have not come home."""
    from labctl import runs, servers

    place = project()
    names = {str(runs.origin(path).get("host")) for path, _ in servers.started_here(place.runs_dir)}
    return [place.host(name) for name in sorted(names)]


def _of_host(target: Host) -> list[dict[str, Any]]:
    from labctl import host_servers
    from labctl.launchers import launcher
    from labctl.sessions import open_session

    with open_session(target) as session:
        found = host_servers.on_host(session, launcher("venv", target, session), target)
        return [
            {
                "name": kept.name, "host": kept.host, "model": kept.model, "synthetic": kept.synthetic,
                "state": kept.state, "detail": kept.detail,
                "since": kept.since, "address": kept.address, "port": kept.port, "restarts": kept.restarts,
                "restarts_at_most": kept.most, "gpu_memory_bytes": host_servers.gpu_memory(session, kept),
                "api_key": kept.keyed, "unit": kept.unit, "run": kept.run,
            }
            for kept in found
        ]  # fmt: skip


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as people read it."""
    used = row["gpu_memory_bytes"]
    state = f"{row['state']} ({row['detail']})" if row["detail"] else row["state"]
    return {
        **row,
        "state": state,
        "model": f"{row['model']} (synthetic)" if row["synthetic"] else row["model"],
        "address": f"{row['address']}:{row['port'] or ''}",
        "restarts": f"{row['restarts']}/{row['restarts_at_most']}",
        "GPU GiB": f"{used / _GIB:.1f}" if used is not None else "",
    }
