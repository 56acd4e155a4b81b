"""``labctl hosts``: the hosts of the inventory."""

from __future__ import annotations

from labctl.commands.options import JsonOption, print_json, print_table, project


def hosts(json: JsonOption = False) -> None:
    """List the hosts of inventory.ini.

    Example: labctl hosts
    """
    from labctl import inventory

    found = inventory.hosts(project().inventory).values()
    rows = [
        {"host": h.name, "connection": h.connection, "address": h.address, "port": h.port, "lab_dir": h.lab_dir}
        for h in found
    ]
    print_json(rows) if json else print_table(rows, ["host", "connection", "address", "port", "lab_dir"])
