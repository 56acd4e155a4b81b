"""``labctl provision``: bring hosts to the state that runs need."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labctl.commands.options import HostArgument, Project, complain, project, say

if TYPE_CHECKING:
    from labctl.fleet import Leave, Outcome
    from labctl.inventory import Host


def provision(
    host: HostArgument = "local",
    check: Annotated[bool, typer.Option("--check", help="Say what would change; change nothing.")] = False,
    tags: Annotated[str, typer.Option("--tags", help="Only these roles, separated by commas.")] = "",
    ask_become_pass: Annotated[
        bool,
        typer.Option("--ask-become-pass", "-K", help="Ask for sudo's password first (or read a line of stdin)."),
    ] = False,
) -> None:
    """Install what runs need on hosts, with Ansible. A second time changes nothing.

    Example: labctl provision gpu1,gpu2
    """
    place = project()
    targets = place.hosts(host)
    chosen = {"check": check, "tags": tuple(filter(None, tags.split(",")))}
    # Only who sits at a terminal can be asked later; without one, what can do without packages does.
    password = _ask(targets) if ask_become_pass else None if sys.stdin.isatty() else ""
    width = max(len(target.name) for target in targets) if len(targets) > 1 else 0
    outcomes = _provision_all(place, targets, width, become_password=password, **chosen)
    if password is None and (asking := _asking(outcomes)):
        retried = _provision_all(place, asking, width, become_password=_ask(asking), **chosen)
        again = {outcome.host.name: outcome for outcome in retried}
        outcomes = [again.get(outcome.host.name, outcome) for outcome in outcomes]
    _conclude(outcomes, "would change" if check else "changed")


def _provision_all(place: Project, targets: list[Host], width: int, **options: Any) -> list[Outcome[dict[str, Any]]]:
    """Every host at once, each with an Ansible of its own; lines carry the host's name where it has a width."""
    from labctl import fleet
    from labctl import provision as ansible

    logs = place.inventory.parent / ".labctl" / "logs"

    def work(target: Host, leave: Leave) -> dict[str, Any]:
        prefix = target.name.ljust(width) if width else ""
        with leave.busy():
            return ansible.provision(
                target, log_dir=logs, echo=lambda text: say(prefix + text), source=place.inventory, **options
            )

    return fleet.each(targets, work)


def _asking(outcomes: list[Outcome[dict[str, Any]]]) -> list[Host]:
    from labctl.provision import SudoPasswordNeeded

    return [outcome.host for outcome in outcomes if isinstance(outcome.error, SudoPasswordNeeded)]


def _ask(targets: list[Host]) -> str:
    """The password of sudo, the same for all these hosts; empty where the answer is."""
    import getpass

    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    users = [target.user or (getpass.getuser() if target.connection == "local" else "") for target in targets]
    names = [f"{user}@{target.name}".lstrip("@") for user, target in zip(users, targets, strict=True)]
    try:
        return getpass.getpass(f"sudo password for {', '.join(names)}: ")
    except (EOFError, KeyboardInterrupt) as left:
        typer.echo(err=True)  # the line that the question stands on
        if isinstance(left, EOFError):
            return ""
        raise


def _conclude(outcomes: list[Outcome[dict[str, Any]]], verb: str) -> None:
    """A last line for each host. Exits with the greatest of their codes."""
    if len(outcomes) == 1:
        outcomes[0].result()
    for outcome in outcomes:
        if outcome.error is None:
            recap = outcome.result()
            done = f"{recap['ok']} tasks ok, {recap['changed']} {verb}, in {recap['seconds']:.1f} s"
            typer.echo(f"{outcome.host.name}: {done}")
        else:
            complain(str(outcome.error), getattr(outcome.error, "next_command", ""))
    if code := max(outcome.code for outcome in outcomes):
        raise typer.Exit(code)
