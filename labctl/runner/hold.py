"""A server that is kept: held until it is stopped, and started anew where it died, as often as was asked for."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import TYPE_CHECKING

from labctl.runner import api_key, open_routes, processes
from labctl.runner.failures import ServerError, Stopped
from labctl.runner.serving import serving
from labctl.runner.vllm_child import stoppable

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner.events import Events
    from labctl.runner.serving import Endpoint
    from labctl.runner.spec import RunSpec

PHASE = "up"
_LOOK_S = 0.25
# A dead engine's memory and port come back within this time.
_PAUSE_S = 1.0


class _GoneError(Exception):
    """The server's process is no more; serving() says why."""


def run(asked: RunSpec, run_dir: Path, events: Events) -> None:
    """Keep the server of ``asked`` until SIGTERM. Raises ServerError, ModelError where it cannot go on, Stopped.

    Only a server that was healthy once is started anew: one that never was would fail again for the same reason.
    """
    api_key.keep(run_dir)
    events.emit("hold", keyed=bool(os.environ.get(api_key.VARIABLE)), restarts=_most(asked))
    again = 0
    with stoppable():
        while True:
            try:
                with serving(asked, run_dir, events) as endpoint:
                    # Whoever holds a tunnel open finds the next one at the same place.
                    asked = _at(asked, endpoint.port)
                    _up(endpoint, events, first=not again)
            except ServerError as error:
                if not again and events.phase != PHASE:
                    raise
                _judge(error, again, asked)
                again += 1
                if events.phase:
                    events.emit("end", phase=events.phase, died=True)
                    events.phase = ""
                events.emit("restart", number=again, of=_most(asked), reason=str(error))
                time.sleep(_PAUSE_S)


def _judge(error: ServerError, again: int, asked: RunSpec) -> None:
    """Raise ServerError where the server was started anew as often as may be."""
    if again >= _most(asked):
        raise ServerError(f"{error} (it had been started anew {again} of at most {_most(asked)} times)") from error


def _most(asked: RunSpec) -> int:
    return asked.server.restarts if asked.server else 0


def _at(asked: RunSpec, port: int) -> RunSpec:
    assert asked.server is not None  # noqa: S101 - the spec was checked: mode server has it
    return dataclasses.replace(asked, server=dataclasses.replace(asked.server, port=port))


def _up(endpoint: Endpoint, events: Events, *, first: bool) -> None:
    """Watch a server. Raises _GoneError, within its phase, once its process is gone, and Stopped after it."""
    stopped: Stopped | None = None
    with events.during(PHASE):
        try:
            if first and endpoint.key:
                events.emit("open_routes", **open_routes.look(endpoint))
            while processes.start_ticks(endpoint.pid) is not None:
                time.sleep(_LOOK_S)
            raise _GoneError
        except Stopped as asked:
            stopped = asked
    raise stopped
