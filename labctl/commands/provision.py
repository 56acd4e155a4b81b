"""``labctl provision``: bring hosts to the state that runs need, prove it, or take it off again."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labctl.commands.options import HostArgument, JsonOption, Project, complain, print_json, project
from labctl.commands.variables import extra
from labctl.errors import UsageError

if TYPE_CHECKING:
    from labctl.fleet import Outcome
    from labctl.inventory import Host
    from labctl.provision import Order


def provision(
    host: HostArgument = "local",
    check: Annotated[bool, typer.Option("--check", help="Say what would change; change nothing.")] = False,
    tags: Annotated[str, typer.Option("--tags", metavar="ROLES", help="Only these roles, separated by commas.")] = "",
    ask_become_pass: Annotated[
        bool,
        typer.Option("--ask-become-pass", "-K", help="Ask for sudo's password first (or read a line of stdin)."),
    ] = False,
    driver: Annotated[bool, typer.Option("--driver", help="Install NVIDIA's driver, over a working one too.")] = False,
    docker: Annotated[bool, typer.Option("--docker", help="Install Docker and NVIDIA's container toolkit.")] = False,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="DIR", exists=True, file_okay=False, help="Send this bundle; use no index."),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Prove the host instead; change nothing.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Take off what labctl put there instead; runs stay.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Reset without asking.")] = False,
    extra_vars: Annotated[
        list[str] | None,
        typer.Option("--extra-vars", "-e", metavar="NAME=VALUE", help="A variable of the roles; YAML (or @FILE)."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Install what runs need on hosts, with Ansible. A second time changes nothing.

    Example: labctl provision gpu1,gpu2
    """
    from labctl.provision import Order

    if verify and reset:
        raise UsageError("--verify and --reset are two things: give one of them")
    order = Order(
        playbook="verify" if verify else "reset" if reset else "provision",
        check=check,
        tags=tuple(filter(None, tags.split(","))),
        extra={**extra(extra_vars or []), **_actions(driver=driver, docker=docker)},
        bundle=bundle,
    )
    place = project()
    targets = place.hosts(host)
    if reset and not (yes or check):
        _confirm(targets)
    # Only who sits at a terminal can be asked later; without one, what can do without packages does.
    password = _ask(targets) if ask_become_pass else None if sys.stdin.isatty() else ""
    outcomes = _all(place, targets, replace(order, become_password=password))
    if password is None and (asking := _asking(outcomes)):
        width = _width(targets)
        again = _all(place, asking, replace(order, become_password=_ask(asking)), width)
        ends = {outcome.host.name: outcome for outcome in again}
        outcomes = [ends.get(outcome.host.name, outcome) for outcome in outcomes]
    _conclude(outcomes, order, json=json)


def _actions(*, driver: bool, docker: bool) -> dict[str, str]:
    wanted = {"gpu_driver_action": driver, "container_runtime_action": docker}
    return {name: "install" for name, asked in wanted.items() if asked}


def _confirm(targets: list[Host]) -> None:
    """Raise UsageError unless somebody says yes."""
    names = ", ".join(target.name for target in targets)
    if not sys.stdin.isatty():
        raise UsageError(f"--reset takes the lab off {names}: where nobody can be asked, it takes --yes")
    if not typer.confirm(f"Take off {names} what labctl put there? Runs and models stay.", err=True):
        raise UsageError("nothing was taken off")


def _width(targets: list[Host]) -> int:
    return max(len(target.name) for target in targets) if len(targets) > 1 else 0


def _all(place: Project, targets: list[Host], order: Order, width: int | None = None) -> list[Outcome[dict[str, Any]]]:
    from labctl import provision as ansible
    from labctl.commands.provision_board import ProvisionBoard

    with ProvisionBoard(targets, _width(targets) if width is None else width) as board:
        return ansible.provision(targets, order, source=place.inventory, show=board)


def _asking(outcomes: list[Outcome[dict[str, Any]]]) -> list[Host]:
    from labctl.provision.ends import SudoPasswordNeeded

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


def _conclude(outcomes: list[Outcome[dict[str, Any]]], order: Order, *, json: bool) -> None:
    """A last line for each host, or all of them as JSON. Exits with the greatest of their codes."""
    if json:
        print_json([_row(outcome) for outcome in outcomes])
    elif len(outcomes) == 1:
        outcomes[0].result()
    for outcome in outcomes:
        if outcome.error is not None:
            _complain(outcome.host.name, str(outcome.error), outcome.next_command)
        elif not json:
            _tell(outcome.host.name, outcome.result(), order)
    if code := max(outcome.code for outcome in outcomes):
        raise typer.Exit(code)


def _complain(host: str, what: str, next_command: str) -> None:
    """What went wrong with one of several hosts, which is named unless the words do so already."""
    named = re.search(rf"(?<![\w.-]){re.escape(host)}(?![\w.-])", what.partition("\n")[0])
    complain(what if named else f"{host}: {what}", next_command)


def _tell(host: str, recap: dict[str, Any], order: Order) -> None:
    if order.playbook == "verify":
        for note in recap["notes"]:
            typer.echo(f"{host}: {note}")
    verb = "would change" if order.check else "changed"
    nothing = "; nothing to change" if order.playbook == "provision" and not recap["changed"] else ""
    typer.echo(f"{host}: {recap['ok']} tasks ok, {recap['changed']} {verb}, in {recap['seconds']:.1f} s{nothing}")


def _row(outcome: Outcome[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"host": outcome.host.name, "error": None, "next": None}
    if outcome.error is not None:
        return {**row, "error": str(outcome.error), "next": outcome.next_command or None}
    return {**row, **outcome.result()}
