"""``labctl hosts``: the hosts of the inventory, and their keys."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from labctl.commands.options import HostArgument, JsonOption, print_json, print_table, project, say

if TYPE_CHECKING:
    from labctl.sessions.ssh.host_keys import UnknownHostKeyError

app = typer.Typer()


@app.callback(invoke_without_command=True)
def hosts(ctx: typer.Context, json: JsonOption = False) -> None:
    """List the hosts of inventory.ini; `hosts trust` accepts a new host's key.

    Example: labctl hosts
    """
    from labctl import inventory

    if ctx.invoked_subcommand is not None:
        return
    found = inventory.hosts(project().inventory).values()
    rows = [
        {"host": h.name, "connection": h.connection, "address": h.address, "port": h.port, "lab_dir": h.lab_dir}
        for h in found
    ]
    if json:
        print_json(rows)
        return
    for row in rows:
        row["port"] = str(row["port"] or "")  # a name, not an amount: no thousands are marked
    print_table(rows, ["host", "connection", "address", "port", "lab_dir"])


@app.command()
def trust(
    host: HostArgument,
    fingerprint: Annotated[
        list[str] | None,
        typer.Option(metavar="SHA256:…", help="What the console shows (a jump host's too): nothing else is accepted."),
    ] = None,
) -> None:
    """Accept the key that a new host shows, after you compared it; jump hosts on the way are asked about first.

    A key that has changed is never accepted here.

    Example: labctl hosts trust gpu1
    """
    from labctl.sessions import open_session
    from labctl.sessions.ssh.host_keys import UnknownHostKeyError, remember

    for target in project().hosts(host):
        if target.connection != "ssh":
            typer.echo(f"{target.name}: is reached without SSH ({target.connection}), so it has no key")
            continue
        while True:
            try:
                with open_session(target):
                    typer.echo(f"{target.name}: its key is known, and it lets us in")
                break
            except UnknownHostKeyError as error:
                _compare(target.name, error, fingerprint)
                typer.echo(f"{target.name}: remembered in {remember(error.settings, error.key)}")


def _compare(host: str, shown: UnknownHostKeyError, expected: list[str] | None) -> None:
    """Raise HostKeyError unless the user says that the key is the right one."""
    from labctl.errors import HostKeyError
    from labctl.sessions.ssh.host_keys import words

    say(f"{shown.settings} shows the key\n  {words(shown.key)}")
    if expected:
        if shown.key.fingerprint not in expected:
            raise HostKeyError(f"that is not {' or '.join(expected)}: it was not accepted for {host}")
    elif not sys.stdin.isatty():
        what = f"nobody is there to compare it: nothing was accepted for {host}. Say what its console shows"
        raise HostKeyError(what, f"labctl hosts trust {host} --fingerprint SHA256:…")
    elif not typer.confirm("Does the host's console show the same?", err=True):
        raise HostKeyError(f"nothing was accepted for {host}")
