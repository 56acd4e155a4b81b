"""One server on the host: ``vllm serve`` from its start over its first healthy answer to its clean end."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import shlex
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.runner import (
    chat_template,
    engine_args,
    ports,
    processes,
    ray_node,
    rundir,
    serve_args,
    span_part,
    vllm_child,
    wire,
)
from labctl.runner.failures import ServerError, Stopped
from labctl.runner.last_words import LastWords

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labctl.runner.events import Events
    from labctl.runner.placement import Server
    from labctl.runner.spec import RunSpec

_POLL = 0.25
# vLLM looks every five seconds whether its engine still lives (launcher.py, watchdog_loop, 0.32.0).
_DYING = 12.0


class Endpoint(NamedTuple):
    """A server that answers: ``address`` it binds, ``port``, ``model`` (its served name), ``key`` ("": none), ``pid``.

    Reach it by the functions of labctl.runner.wire, which know the address to use for one that binds everywhere.
    """

    address: str
    port: int
    model: str
    key: str
    pid: int


@contextmanager
def serving(
    asked: RunSpec, run_dir: Path, events: Events, *, dev: bool = False, template_at_start: bool = True
) -> Iterator[Endpoint]:
    """A healthy server for the block; stopped after it, its metrics and version kept in the run directory.

    ``dev``: vLLM's dev mode (needed to empty caches), loopback only. ``template_at_start`` False: a model without a
    chat template is served without, but takes one of a request's own (``chat_template`` in its body).
    SIGTERM raises Stopped within the block. Raises ModelError, and ServerError: exposed without a key, port taken,
    no such template, died (also within the block, whatever that broke there), never healthy, another's at its port.
    """
    settings = asked.server
    assert settings is not None  # noqa: S101 - the spec was checked: mode server has it
    dev = dev or settings.dev
    _check(settings, dev=dev)
    engine = span_part.settle(asked, engine_args.prepare(asked, run_dir, events), events)
    template = chat_template.choose(settings.chat_template, engine, at_start=template_at_start)
    if template.name == chat_template.NAME and template_at_start:
        events.emit("chat_template", name=template.name, given="server", text=chat_template.ours())
    port = settings.port or ports.free(settings.address)
    words = [*_words(asked, engine), f"--host={settings.address}", f"--port={port}", *template.flags]
    before, said = engine_args.cache_entries(), LastWords(run_dir)
    with ray_node.beside(asked, run_dir), vllm_child.child(words, dev=dev) as process:
        key = os.environ.get("VLLM_API_KEY", "")
        endpoint = Endpoint(settings.address, port, served_name(asked, engine), key, process.pid)
        up = _Up(endpoint, process, said, run_dir, events)
        with events.during("engine", port=port):
            up.until_healthy(settings.health_s)
        after, eager = engine_args.cache_entries(), bool(engine.get("enforce_eager"))
        events.emit("compile_cache", before=before, after=after, eager=eager)
        up.announce(shlex.join(["vllm", "serve", *words]), chat_template=template.name, dev=dev)
        span_part.tell_ports(asked, run_dir, events)
        yield from up.held()


def _words(asked: RunSpec, engine: dict[str, Any]) -> list[str]:
    """Of ``vllm serve``, all that is about the engine."""
    # Requests name the model as it was asked for, also where a folder stands in for it.
    named = {} if asked.model == engine["model"] else {"served_model_name": asked.model}
    return [
        *serve_args.flags({**named, **engine}),
        *(() if ray_node.wanted(asked) else serve_args.span_flags(asked.span)),
    ]


def _check(settings: Server, *, dev: bool) -> None:
    """Raise ServerError for a server that must not be, or a port that cannot be had: before minutes are spent."""
    if not is_loopback(settings.address):
        if settings.dev or dev:
            raise ServerError(f"vLLM's dev mode is for loopback alone, not for a server that binds {settings.address}")
        if not os.environ.get("VLLM_API_KEY"):
            raise ServerError(
                f"a server that binds {settings.address} needs an API key: "
                f"`labctl up --expose {settings.address}` makes one"
            )
    ports.check(settings.address, settings.port)


def is_loopback(address: str) -> bool:
    """Whether an address is reached from this host alone."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def served_name(asked: RunSpec, engine: dict[str, Any]) -> str:
    """The name that requests must give: the engine's served_model_name (its first), else the model as asked for."""
    given = engine.get("served_model_name")
    first = given[0] if isinstance(given, (list, tuple)) and given else given
    return str(first or asked.model)


def healthy(endpoint: Endpoint, timeout: float = 10.0) -> bool:
    """Whether ``/health`` answers 200 within ``timeout`` s; vLLM answers 503 once its engine is dead."""
    try:
        return wire.get(endpoint, "/health", timeout).status == wire.OK
    except (OSError, http.client.HTTPException):
        return False


@dataclass(frozen=True, slots=True)
class _Up:
    """One started server and where its evidence goes."""

    endpoint: Endpoint
    process: subprocess.Popen[bytes]
    said: LastWords
    run_dir: Path
    events: Events

    def until_healthy(self, within: int) -> None:
        """Wait, ``within`` seconds at most. Raises ServerError."""
        deadline = time.monotonic() + within
        while True:
            if self.process.poll() is not None:
                raise ServerError(f"vllm serve {vllm_child.how_it_ended(self.process)} while loading{self.said.told()}")
            # Asked only where it is ours: another program's answer would be no news of this server.
            if self._listens() and healthy(self.endpoint, timeout=2.0):
                return
            if time.monotonic() > deadline:
                raise ServerError(f"vllm serve was not healthy within {within} s (server.health_s){self.said.told()}")
            time.sleep(_POLL)

    def _listens(self) -> bool:
        """Whether the server listens by now. Raises ServerError where another program has its port.

        vLLM's API server is the child itself or a process below it (``--api-server-count``), so its whole group
        counts. Every process of one's own shows its sockets in /proc: one that is not found there is a stranger's.
        """
        place, port = wire.host(self.endpoint), self.endpoint.port
        try:
            heard = ports.listeners(place, port)
            strangers = heard - processes.sockets(processes.family(self.process.pid))
            if strangers:
                time.sleep(_POLL)  # a process that dies has lost its files a moment before they are closed
                strangers &= ports.listeners(place, port)
        except OSError as error:
            raise ServerError(f"cannot see who listens at port {port} of {place}: {error}") from error
        if strangers:
            who = ports.holder(port)
            raise ServerError(f"another program answers at port {port} of {place}{f': {who}' if who else ''}")
        return bool(heard)

    def announce(self, command: str, **more: Any) -> None:
        """The event ``server``: it is up, where, as what; ``/version``'s answer is kept."""
        where = {"address": self.endpoint.address, "port": self.endpoint.port, "model": self.endpoint.model}
        told = {**where, "pid": self.endpoint.pid, "version": self._version(), "command": command}
        self.events.emit("server", **told, **more)

    def _version(self) -> str | None:
        """What ``/version`` says, kept as api/version.json; None where it says nothing."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            answer = wire.get(self.endpoint, "/version")
            path = self.run_dir / rundir.VERSION
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(answer.body)
            return str(answer.json()["version"])
        return None

    def held(self) -> Iterator[Endpoint]:
        """The block, and what is kept after it; a server that died within it is the error, not what that broke."""
        try:
            yield self.endpoint
        except Exception as error:
            self._still_there(error)
            self._keep_metrics()
            raise
        except Stopped:
            self._close()
            raise
        self._still_there(None)
        self._close()

    def _still_there(self, error: Exception | None) -> None:
        """Raise ServerError (from ``error``) unless the server is healthy."""
        if self.process.poll() is None and healthy(self.endpoint):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=_DYING)
        gone = self.process.poll() is not None
        how = vllm_child.how_it_ended(self.process) if gone else "stopped answering"
        raise ServerError(f"vllm serve {how} while it was up{self.said.told()}") from error

    def _close(self) -> None:
        with self.events.during("shutdown") as told:
            self._keep_metrics()
            vllm_child.end(self.process)
            told["exit"] = self.process.returncode

    def _keep_metrics(self) -> None:
        """metrics/end.prom as the server has it now: evidence, not a condition."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = wire.get(self.endpoint, "/metrics", timeout=3.0)
            if answer.status == wire.OK:
                path = self.run_dir / rundir.METRICS
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(answer.body)
