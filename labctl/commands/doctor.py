"""``labctl doctor``: what a host is, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from labctl.commands.options import HostOption, JsonOption, complain_of, print_json, project
from labctl.errors import EXIT_RUN_FAILED, CouldNotCheckError, LabError, UnreachableError

if TYPE_CHECKING:
    from labctl.inventory import Host


def doctor(host: HostOption = "local", json: JsonOption = False) -> None:
    """Check hosts: one line a check, with the command that cures it.

    Exit status: 0 fit, 1 something fails, 10 could not look.

    Example: labctl doctor --host local
    """
    from labctl import fleet

    targets = project().hosts(host)
    outcomes = fleet.each(targets, lambda target, _: _look(target))
    for one in outcomes:
        if isinstance(one.error, LabError) and len(outcomes) > 1:
            complain_of(one.host.name, str(one.error), one.error.next_command)
    told = [one.result() for one in outcomes if one.error is None or len(outcomes) == 1]
    if json:
        print_json(told[0] if len(outcomes) == 1 else told)
    else:
        for each in told:
            _print(each, alone=len(outcomes) == 1)
    codes = [one.code or (EXIT_RUN_FAILED if one.result()["failures"] else 0) for one in outcomes]
    if max(codes):
        raise typer.Exit(max(codes))


def _look(target: Host) -> dict[str, Any]:
    """What one host is: {"host", "failures", "checks", "facts"}. Raises CouldNotCheckError, HostKeyError."""
    from labctl import doctor as checks
    from labctl.launchers.venv import has_environment
    from labctl.sessions import open_session

    try:
        with open_session(target) as session:
            facts = checks.probe(target, session)
            lab = checks.lab(target, session)
            whole = has_environment(session, lab or {})
    except UnreachableError as error:
        raise CouldNotCheckError(str(error), error.next_command) from error
    found = list(checks.verdicts(facts, lab, target.name, whole=whole))
    failures = [verdict.check for verdict in found if verdict.level == "fail"]
    return {"host": target.name, "failures": failures, "checks": [one._asdict() for one in found], "facts": facts}


def _print(told: dict[str, Any], *, alone: bool) -> None:
    from labctl.report.text import line

    if not alone:
        typer.echo(f"{told['host']}:")
    for check in told["checks"]:
        typer.echo(f"{check['level']:<4}  {check['check']:<12}  {line(check['meaning'])}")
        if check["fix"] and check["level"] != "ok":
            typer.echo(f"{'':20}fix: {check['fix']}")
