"""``labctl params``: what the tutorial's parameters are by default, and for a model on a host."""

from __future__ import annotations

import json as jsonlib
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labctl.commands.options import (
    HostOption,
    JsonOption,
    PatienceOption,
    complain_of,
    print_json,
    print_table,
    project,
)
from labctl.commands.overrides import EngineOption, ModelOption, SyntheticOption

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.fleet import Outcome
    from labctl.inventory import Host
    from labctl.runner.spec import RunSpec


class Language(StrEnum):
    """Languages that the table comes in."""

    EN = "en"
    ZH = "zh"


# Headings, then what stands for an argument that nobody set.
_WORDS = {
    Language.EN: (("parameter", "default", "here", "tutorial"), "not set"),
    Language.ZH: (("参数", "默认值", "这里的取值", "教程的说法"), "未设定"),
}
_GONE = {Language.EN: "gone since {}", Language.ZH: "{} 起已删除"}
_TITLES = {
    Language.EN: "{host}: vLLM {vllm} ({device}), {model}; run {run}\n"
    "where two values stand: LLM(...) / vllm serve; the tutorial is quoted where this vLLM differs",
    Language.ZH: "{host}：vLLM {vllm}（{device}），{model}；运行 {run}\n"
    "两个取值依次对应 LLM(...) / vllm serve；只在此版本与教程不同时列出教程的说法",
}


def params(
    host: HostOption = "local",
    model: ModelOption = None,
    engine: EngineOption = None,
    synthetic: SyntheticOption = None,
    lang: Annotated[Language, typer.Option(help="Language of the meanings and notes.")] = Language.EN,
    patience: PatienceOption = 60.0,
    json: JsonOption = False,
) -> None:
    """Say what the tutorial's parameters mean, their defaults in the vLLM there, and what they come to on that machine.

    It is a recorded run of the lab `params`. No engine starts, and a running server is not disturbed.

    Example: labctl params --host local --model Qwen/Qwen2.5-7B-Instruct --lang zh
    """
    from labctl import drivers, labs
    from labctl.commands.starting import Start, outcomes_of
    from labctl.launchers.venv import forwarded

    place, words, env = project(), labs.read("params"), forwarded()
    targets = place.hosts(host)

    def build(_target: Host, vllm: str) -> RunSpec:
        return labs.build(words, vllm=vllm, env=env, model=model, engine=engine, synthetic=synthetic)

    specs = {one.name: build(one, drivers.version(one.vars.get("vllm_version"))) for one in targets}
    outcomes = outcomes_of(Start(place.runs_dir, specs, build, detach=False, patience=patience), targets)
    found = [_found(one) for one in outcomes if one.value is not None]
    if json:
        print_json(found[0] if len(targets) == 1 and found else found)
    else:
        for one in found:
            _print(one, lang)
    _end(outcomes, found)


def _found(one: Outcome[Path]) -> dict[str, Any]:
    """parameters.json of a run with what names it; ``rows`` is empty where the run came to none."""
    from labctl import runs
    from labctl.runner import parameters

    run = runs.load(one.result())
    try:
        told = jsonlib.loads((run.path / parameters.FILE).read_text(encoding="utf-8"))
        rows = [row for row in told["rows"] if isinstance(row, dict)]
    except (OSError, ValueError, KeyError, TypeError):
        told, rows = {}, []
    named = {"host": one.host.name, "run": run.run_id, "status": run.record.status, "error": run.record.error}
    return {**(told if isinstance(told, dict) else {}), **named, "rows": rows}


def _print(found: dict[str, Any], lang: Language) -> None:
    """The table, then what each parameter means and what must be said of single rows."""
    from labctl.report.text import line

    if not found["rows"]:
        return
    headings, unset = _WORDS[lang]
    typer.echo(
        _TITLES[lang].format(**{key: line(found.get(key)) for key in ("host", "vllm", "device", "model", "run")})
    )
    typer.echo("")
    rows = [dict(zip(headings, _cells(row, unset, lang), strict=True)) for row in found["rows"]]
    print_table(rows, list(headings), cut=False)
    typer.echo("")
    for row in found["rows"]:
        meaning, note = row.get("meaning"), row.get("note_zh" if lang is Language.ZH else "note")
        told = (meaning.get(lang.value) if isinstance(meaning, dict) else None, note)
        said = ("。" if lang is Language.ZH else ". ").join(line(one, 300) for one in told if one)
        if said:
            typer.echo(f"{line(row.get('flag'))}{'：' if lang is Language.ZH else ': '}{said}")


def _cells(row: dict[str, Any], unset: str, lang: Language) -> list[str]:
    values = list(dict.fromkeys(_text(row.get(key), "") for key in ("resolved", "resolved_serve")))
    gone = row.get("removed_in")
    here = _GONE[lang].format(gone) if gone else " / ".join(values)
    tutorial = _text(row.get("tutorial"), "") if row.get("differs") else ""
    there = row.get("removed_in") is None and row.get("default_source") is not None
    default = _text(row.get("default"), unset) if there else ""
    return [str(row.get("flag")), default, here, tutorial]


def _text(value: object, unset: str) -> str:
    """A value as one would write it on the command line."""
    if value is None:
        return unset
    if not isinstance(value, str):
        return jsonlib.dumps(value)
    # A folder on the host is named in whole above the table.
    return value.rstrip("/").rpartition("/")[2] or value if value.startswith("/") else value


def _end(outcomes: list[Outcome[Path]], found: list[dict[str, Any]]) -> None:
    """Say what failed; exit with the greatest code."""
    from labctl.errors import EXIT_OK, EXIT_RUN_FAILED
    from labctl.report.text import line

    if len(outcomes) == 1:
        outcomes[0].result()
    for one in outcomes:
        if one.value is None:
            complain_of(one.host.name, str(one.error), one.next_command)
    failed = [row for row in found if row["status"] != "ok"]
    for row in failed:
        why = line((row["error"] or {}).get("message"), 500)
        complain_of(row["host"], f"the run {row['status']}: {why}", f"labctl logs {row['run']}")
    code = max([one.code for one in outcomes] + [EXIT_RUN_FAILED for _ in failed])
    if code != EXIT_OK:
        raise typer.Exit(code)
