"""``labctl down``: the end of a kept server."""

from __future__ import annotations

from labctl.commands.kept import ServerArgument, ServerHostOption


def down(name: ServerArgument = None, host: ServerHostOption = None) -> None:
    """Stop a kept server; its host seals its run, which is fetched, and the report is built.

    Example: labctl down
    """
    from labctl.commands.kept import server_line
    from labctl.commands.stop import stop

    with server_line(name, host) as (_, kept):
        pass
    stop(kept.run, host)
