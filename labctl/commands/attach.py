"""``labctl attach``: follow a run that was left."""

from __future__ import annotations

from labctl.commands.options import RunArgument


def attach(run: RunArgument = None) -> None:
    """Follow a run to its end, fetch it and build its report.

    Example: labctl attach
    """
    from labctl.commands.remote import follow_to_end, line_to

    with line_to(run) as where:
        follow_to_end(where)
