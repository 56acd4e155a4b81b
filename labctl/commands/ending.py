"""What is printed when runs have ended: one run's figures, or a table of many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from labctl.commands.options import complain_of, print_json, print_table, say
from labctl.errors import EXIT_OK, EXIT_RUN_FAILED
from labctl.report.text import line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labctl.fleet import Outcome
    from labctl.runs import Run

_SHOWN = {
    "throughput": "throughput",
    "kv_tokens": "KV cache size",
    "kv_max_concurrency": "maximum concurrency",
    "startup": "start-up time",
    "compile_cache": "compile cache",
}


def finish(path: Path) -> None:
    """Print what one fetched run came to and where its report is; exit 1 where it failed."""
    from labctl import runs
    from labctl.runner import rundir

    run = runs.load(path)
    summary(run)
    typer.echo(f"report: {report_of(path)}")
    if run.record.status != "ok":
        if (path / rundir.ENGINE_LOG).is_file():
            say(f"the engine's log:\n  labctl logs {run.run_id}")
        raise typer.Exit(EXIT_RUN_FAILED)


def report_of(path: Path) -> Path:
    """Where the page of a run lies."""
    return path / "report" / "report.html"


def near(path: Path) -> Path:
    """A path below the current directory as one would type it."""
    from pathlib import Path

    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def finish_all(outcomes: Sequence[Outcome[Path]], *, json: bool) -> None:
    """Print one row a host, then each failure with the command that cures it; exit with the greatest code."""
    rows = [_row(one) for one in outcomes]
    if json:
        print_json(rows)
    else:
        print_table(rows, ["host", "run", "status", "tok/s", "start-up s"])
        for row in rows:
            if row["report"]:
                typer.echo(f"report: {row['report']}")
    for row in rows:
        if row["error"]:
            complain_of(row["host"], line(row["error"], 500), row["next"])
    code = max(row["code"] for row in rows)
    if code != EXIT_OK:
        raise typer.Exit(code)


def _row(one: Outcome[Path]) -> dict[str, Any]:
    from labctl import runs

    row: dict[str, Any] = {"host": one.host.name, "run": None, "status": "error", "code": one.code, "error": None}
    row |= {"tok/s": None, "start-up s": None, "report": None, "next": ""}
    if one.value is None:
        return row | {"error": str(one.error), "next": getattr(one.error, "next_command", "")}
    run = runs.load(one.value)
    figures = {name: run.record.metrics.get(name, {}).get("value") for name in ("throughput", "startup")}
    row |= {"run": run.run_id, "status": run.record.status, "tok/s": figures["throughput"]}
    row |= {"start-up s": figures["startup"], "report": str(near(report_of(one.value)))}
    if run.record.status != "ok":
        row |= {"code": EXIT_RUN_FAILED, "error": f"the run {run.record.status}: {_why(run)}"}
        row["next"] = f"labctl logs {run.run_id}"
    return row


def _why(run: Run) -> str:
    error = run.record.error or {}
    return f"in {error.get('phase')}, {error.get('message')}"


def summary(run: Run) -> None:
    """A few lines of figures: what the run came to."""
    from labctl.report.amounts import number

    record = run.record
    typer.echo(f"run: {run.run_id} ({record.status})")
    if record.error:
        typer.echo(f"error in {line(record.error.get('phase'))}: {line(record.error.get('message'), 500)}")
    if record.model and record.model.get("synthetic"):
        typer.echo(f"model: synthetic, random weights of {line(run.spec.model)} ({line(record.model.get('why'))})")
    for name, label in _SHOWN.items():
        figure = record.metrics.get(name, {})
        value = figure.get("value")
        if value is None and name == "throughput" and record.status == "ok":
            typer.echo(f"{label}: unknown ({line(figure.get('note'))})")
        if value is not None:
            text = number(value) or line(value)
            low, high = number(figure.get("low")), number(figure.get("high"))
            spread = f" (median of {line(figure.get('n'))}: {low} to {high})" if low and high else ""
            note = f" ({line(figure.get('note'))})" if name == "compile_cache" else ""
            typer.echo(f"{label}: {text} {line(figure.get('unit'))}".rstrip() + spread + note)
