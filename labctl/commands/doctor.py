"""``labctl doctor``: what a host is, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labctl.commands.options import HostOption, JsonOption, complain_of, print_json, project
from labctl.errors import EXIT_RUN_FAILED, CouldNotCheckError, LabError, UnreachableError

if TYPE_CHECKING:
    from labctl.inventory import Host


def doctor(
    host: HostOption = "local",
    facts: Annotated[
        Path | None,
        typer.Option("--facts", metavar="FILE", help="Judge saved facts (of --probe, or of --json) and no host."),
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Print a script that gathers the facts of a machine out of reach.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check hosts: what each is, then one line a check, with the command that cures it.

    Exit status: 0 fit, 1 something fails, 10 could not look.

    Example: labctl doctor --host local
    """
    if probe:
        from labctl.doctor import looking

        typer.echo(looking.by_hand(), nl=False)
        return
    code = _show(_of_file(facts), json=json) if facts is not None else _of_hosts(host, json=json)
    if code:
        raise typer.Exit(code)


def _of_file(path: Path) -> list[dict[str, Any]]:
    from labctl import doctor as checks
    from labctl.doctor import looking

    return [checks.judge(facts, name) for name, facts in looking.saved(path)]


def _of_hosts(pattern: str, *, json: bool) -> int:
    """Look at every host of a pattern and print; the greatest exit code."""
    from labctl import fleet

    outcomes = fleet.each(project().hosts(pattern), lambda target, _: _look(target))
    for one in outcomes:
        if isinstance(one.error, LabError) and len(outcomes) > 1:
            complain_of(one.host.name, str(one.error), one.error.next_command)
    code = _show([one.result() for one in outcomes if one.error is None or len(outcomes) == 1], json=json)
    return max(code, *(one.code for one in outcomes))


def _show(told: list[dict[str, Any]], *, json: bool) -> int:
    if json:
        print_json(told[0] if len(told) == 1 else told)
    else:
        for each in told:
            _print(each, alone=len(told) == 1)
    return EXIT_RUN_FAILED if any(each["failures"] for each in told) else 0


def _look(target: Host) -> dict[str, Any]:
    """What one host is: see doctor.judge. Raises CouldNotCheckError, HostKeyError."""
    from labctl import doctor as checks
    from labctl.doctor import looking, wishes
    from labctl.sessions import open_session

    try:
        with open_session(target) as session:
            facts = looking.look(target, session)
    except UnreachableError as error:
        raise CouldNotCheckError(str(error), error.next_command) from error
    return checks.judge(facts, target.name, wishes.of(target))


def _print(told: dict[str, Any], *, alone: bool) -> None:
    from labctl.report.text import line

    if not alone:
        typer.echo(f"{told['host']}:")
    typer.echo(line(told["sentence"], 400))
    for check in told["checks"]:
        typer.echo(f"{check['level']:<4}  {check['check']:<12}  {line(check['meaning'], 600)}")
        if check["fix"] and check["level"] != "ok":
            typer.echo(f"{'':20}fix: {line(check['fix'], 600)}")
