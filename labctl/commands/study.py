"""``labctl studies`` and ``labctl study``: grids of runs, listed, shown and gone on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from labctl.commands.options import JsonOption, PatienceOption, complain_of, print_json, print_table, project, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labctl.fleet import Leave, Outcome
    from labctl.inventory import Host
    from labctl.studies import Study


def studies(json: JsonOption = False) -> None:
    """List the studies (`labctl run LAB --vary …`), newest last.

    Example: labctl studies
    """
    from labctl import study_files
    from labctl.errors import UnreadableRunError

    runs_dir = project().runs_dir
    rows: list[dict[str, Any]] = []
    for name in study_files.known(runs_dir):
        try:
            rows.append(_row(study_files.load(runs_dir, name)))
        except UnreadableRunError as error:
            rows.append({"study": name, "note": str(error)})
    columns = ["study", "host", "lab", "varied", "points", "ok", "failed", "left", "note"]
    print_json(rows) if json else print_table(rows, columns)


def _row(study: Study) -> dict[str, Any]:
    from labctl.studies import REFUSED

    return {
        "study": study.study,
        "host": study.host,
        "lab": study.lab,
        "varied": ", ".join(str(key) for key, _ in study.vary),
        "points": len(study.points),
        "ok": study.count("ok"),
        "failed": study.count("failed", REFUSED),
        "left": _left(study),
        "note": "",
    }


def study(
    study: Annotated[str | None, typer.Argument(help="A study's id, or a part of one; the newest if left out.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Run what is left of it; a run that goes on is followed.")]
    = False,
    retry: Annotated[bool, typer.Option("--retry", help="With --resume: run the failed points again too.")] = False,
    patience: PatienceOption = 60.0,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Show a study: each point with its run's figures; with --resume go on with it.

    Exit status of --resume: 0 once every point has run or was found impossible and one at least is ok, else 1.

    Example: labctl study --resume
    """
    from labctl import study_files
    from labctl.errors import UsageError

    place = project()
    if retry and not resume:
        raise UsageError("--retry goes with --resume")
    found = study_files.find(place.runs_dir, study)
    if resume:
        lead([found], [place.host(found.host)], patience=patience, again=retry, json=json)
        return
    study_files.settle(place.runs_dir, found)
    if json:
        print_json(_whole(found, place.runs_dir))
    else:
        _show(found, place.runs_dir)


def lead(
    found: Sequence[Study], targets: Sequence[Host], *, patience: float, again: bool = False, json: bool = False
) -> None:
    """Lead one study a host, all hosts at once; print what came of each. Ctrl-C pauses them."""
    from labctl import fleet
    from labctl.commands.remote import warm
    from labctl.commands.studying import Lead, PointBoard, resume
    from labctl.errors import EXIT_DETACHED

    runs_dir = project().runs_dir
    by_host = {one.host: one for one in found}
    board = PointBoard(list(targets))
    leading = Lead(runs_dir, board, patience, again)

    def work(target: Host, leave: Leave) -> Study:
        return leading.study(by_host[target.name], target, leave)

    warm()
    say("Ctrl-C pauses the study; the run that is under way goes on")
    try:
        with board:
            outcomes = fleet.each(targets, work, board.tick)
    except KeyboardInterrupt:
        say("paused; to go on:")
        for one in found:
            say(f"  {resume(one)}")
        raise typer.Exit(EXIT_DETACHED) from None
    _finish(found, outcomes, runs_dir, json=json)


def _finish(found: Sequence[Study], outcomes: Sequence[Outcome[Study]], runs_dir: Path, *, json: bool) -> None:
    from labctl import study_files
    from labctl.errors import EXIT_OK, EXIT_RUN_FAILED

    there = [one for one in found if study_files.place(runs_dir, one).is_file()]  # a host that cannot have it has none
    if json:
        told = [_whole(one, runs_dir) for one in there]
        print_json(told[0] if len(told) == 1 else told)
    for one in () if json else there:
        _show(one, runs_dir)
    for outcome in outcomes:
        if outcome.error is not None:
            complain_of(outcome.host.name, str(outcome.error), outcome.next_command)
    unfit = [one for one in found if _left(one) or not one.count("ok")]
    code = max([outcome.code for outcome in outcomes] + [EXIT_RUN_FAILED for _ in unfit])
    if code != EXIT_OK:
        raise typer.Exit(code)


def _page(path: Path) -> Path:
    """The page of a study, made anew where the study has changed since. Raises UnreadableRunError."""
    from labctl.errors import UnreadableRunError
    from labctl.report import study as report

    page = path.parent / path.stem / "study.html"
    if page.is_file() and page.stat().st_mtime > path.stat().st_mtime:
        return page
    try:
        return report.build(path)
    except OSError as error:
        raise UnreadableRunError(f"the report of {path.stem} cannot be written: {error}") from error


def _left(one: Study) -> int:
    from labctl.studies import DONE

    return len(one.points) - one.count(*DONE)


def _whole(one: Study, runs_dir: Path) -> dict[str, Any]:
    from labctl import study_files
    from labctl.commands.study_table import rows

    told = {"study": one.study, "lab": one.lab, "host": one.host, "vary": one.vary, "vllm": one.vllm}
    return {**told, "made_utc": one.made_utc, "points": rows(one, study_files.place(runs_dir, one))}


def _show(one: Study, runs_dir: Path) -> None:
    from labctl import study_files
    from labctl.commands.ending import near
    from labctl.commands.study_table import show
    from labctl.commands.studying import resume

    typer.echo(
        f"study: {one.study} ({one.lab} on {one.host}, vLLM {one.vllm}): {one.count('ok')} of {len(one.points)} ok"
    )
    path = study_files.place(runs_dir, one)
    show(one, path)
    typer.echo(f"report: {near(_page(path))}")
    if _left(one):
        say(f"{_left(one)} of {len(one.points)} points are left:\n  {resume(one)}")
