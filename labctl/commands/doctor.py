"""``labctl doctor``: what a host is, and what is wrong with it."""

from __future__ import annotations

import typer

from labctl.commands.options import HostOption, JsonOption, print_json, project
from labctl.errors import EXIT_RUN_FAILED, CouldNotCheckError, UnreachableError


def doctor(host: HostOption = "local", json: JsonOption = False) -> None:
    """Check a host: one line a check, with the command that cures it.

    Exit status: 0 fit, 1 something fails, 10 could not look.

    Example: labctl doctor --host local
    """
    from labctl import doctor as checks
    from labctl.launchers.venv import has_environment
    from labctl.report.text import line
    from labctl.sessions import open_session

    target = project().host(host)
    try:
        with open_session(target) as session:
            facts = checks.probe(target, session)
            lab = checks.lab(target, session)
            whole = has_environment(session, lab or {})
            found = list(checks.verdicts(facts, lab, host, whole=whole))
    except UnreachableError as error:
        raise CouldNotCheckError(str(error), error.next_command) from error
    failures = [verdict.check for verdict in found if verdict.level == "fail"]
    if json:
        print_json({"host": host, "failures": failures, "checks": [v._asdict() for v in found], "facts": facts})
    else:
        for verdict in found:
            typer.echo(f"{verdict.level:<4}  {verdict.check:<12}  {line(verdict.meaning)}")
            if verdict.fix and verdict.level != "ok":
                typer.echo(f"{'':20}fix: {verdict.fix}")
    if failures:
        raise typer.Exit(EXIT_RUN_FAILED)
