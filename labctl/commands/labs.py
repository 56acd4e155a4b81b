"""``labctl labs``: the labs there are."""

from __future__ import annotations

from typing import Any

import typer

from labctl.commands.options import JsonOption, print_json, print_table


def labs(json: JsonOption = False) -> None:
    """List the labs: what each runs, on which model; then the studies that are ready, each of which varies something.

    Example: labctl labs
    """
    from labctl import labs as files

    rows = [_row(name, files.read(name)) for name in files.bundled()]
    if json:
        print_json(rows)
        return
    single, ready = ([row for row in rows if bool(row["varies"]) is varies] for varies in (False, True))
    print_table(single, ["lab", "mode", "model", "what"], cut=False)
    typer.echo("\nready studies, a run for each value (`labctl run LAB`):")
    print_table(ready, ["lab", "needs", "what"], cut=False)


def _row(name: str, lab: dict[str, Any]) -> dict[str, Any]:
    from labctl import grids

    varied = grids.axes(lab, ())
    return {
        "lab": name,
        "mode": lab.get("mode"),
        "model": lab.get("model"),
        "what": lab.get("description"),
        "varies": {axis.key: list(axis.values) for axis in varied},
        "needs": _needs(lab),
    }


def _needs(lab: dict[str, Any]) -> str:
    """What a lab needs of a host, in a few words."""
    from labctl import needs

    words = {"gpus": "{} GPUs", "variant": "{}", "vllm_below": "vLLM < {}"}
    return ", ".join(text.format(value) for key, value in needs.read(lab).items() if (text := words.get(key)))
