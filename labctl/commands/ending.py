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
    typer.echo(f"report: {near(report_of(path))}")
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
        return row | {"error": str(one.error), "next": one.next_command}
    run = runs.load(one.value)
    figures = {name: figure.get("value") for name, figure in run.record.metrics.items()}
    rate = next((figures[name] for name in runs.THROUGHPUTS if figures.get(name) is not None), None)
    row |= {"run": run.run_id, "status": run.record.status, "tok/s": rate}
    row |= {"start-up s": figures.get("startup"), "report": str(near(report_of(one.value)))}
    if run.record.status != "ok":
        row |= {"code": EXIT_RUN_FAILED, "error": f"the run {run.record.status}: {_why(run)}"}
        row["next"] = f"labctl logs {run.run_id}"
    return row


def _why(run: Run) -> str:
    error = run.record.error or {}
    return f"in {error.get('phase')}, {error.get('message')}"


def summary(run: Run) -> None:
    """A few lines of figures: what the run came to."""
    from labctl.report import banners, brief, load

    record = run.record
    typer.echo(f"run: {run.run_id} ({record.status})")
    if banners.was_kept(run.spec.workload.kind, record):
        typer.echo(banners.KEPT)
    elif record.error:
        typer.echo(f"error in {line(record.error.get('phase'))}: {line(record.error.get('message'), 500)}")
    if record.model and record.model.get("synthetic"):
        why = f" ({line(record.model['why'])})" if record.model.get("why") else ""
        typer.echo(f"model: synthetic, random weights of {line(record.model.get('requested') or run.spec.model)}{why}")
    read = load.read(run.path)
    batches = run.spec.workload.kind == "batches"  # each size has its own line in a table
    for name, label in _SHOWN.items():
        if name != "throughput" or not batches:
            _figure(run, name, label)
    for said in brief.brief(read):
        if isinstance(said, str):
            typer.echo(said)
        else:
            print_table(said.rows, said.columns)


def _figure(run: Run, name: str, label: str) -> None:
    """One line of a figure that is known."""
    from labctl.report.amounts import number

    record, figure = run.record, run.record.metrics.get(name, {})
    value = figure.get("value")
    if value is None and name == "throughput" and record.status == "ok" and run.spec.workload.kind == "prompts":
        typer.echo(f"{label}: unknown ({line(figure.get('note'))})")
    if value is not None:
        text = number(value) or line(value)
        low, high, count = number(figure.get("low")), number(figure.get("high")), figure.get("n")
        spread = f" (median of {line(count)}: {low} to {high})" if low and high and count != 1 else ""
        note = f" ({line(figure.get('note'))})" if name == "compile_cache" else ""
        typer.echo(f"{label}: {text} {line(figure.get('unit'))}".rstrip() + spread + note)
