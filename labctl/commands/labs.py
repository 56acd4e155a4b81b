"""``labctl labs``: the labs there are."""

from __future__ import annotations

from labctl.commands.options import JsonOption, print_json, print_table


def labs(json: JsonOption = False) -> None:
    """List the labs: what each runs, on which model.

    Example: labctl labs
    """
    from labctl import labs as files

    rows = []
    for name in files.bundled():
        lab = files.read(name)
        rows.append({"lab": name, "mode": lab.get("mode"), "model": lab.get("model"), "what": lab.get("description")})
    print_json(rows) if json else print_table(rows, ["lab", "mode", "model", "what"])
