"""``labctl provision``: bring a host to the state that runs need."""

from __future__ import annotations

from typing import Annotated

import typer

from labctl.commands.options import HostArgument, project, say


def provision(
    host: HostArgument = "local",
    check: Annotated[bool, typer.Option("--check", help="Say what would change; change nothing.")] = False,
    tags: Annotated[str, typer.Option("--tags", help="Only these roles, separated by commas.")] = "",
) -> None:
    """Install what runs need on a host, with Ansible. A second time changes nothing.

    Example: labctl provision local
    """
    from labctl import provision as ansible

    place = project()
    target = place.host(host)
    logs = place.inventory.parent / ".labctl" / "logs"
    recap = ansible.provision(target, check=check, tags=tuple(filter(None, tags.split(","))), log_dir=logs, echo=say)
    verb = "would change" if check else "changed"
    typer.echo(f"{host}: {recap['ok']} tasks ok, {recap['changed']} {verb}, in {recap['seconds']:.1f} s")
