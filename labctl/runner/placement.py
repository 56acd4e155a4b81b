"""Where an engine listens, and over which hosts it spans: the parts of a RunSpec that are about the network."""

from __future__ import annotations

import re
from dataclasses import dataclass

from labctl.runner.workloads import LOOPBACK, SpecError, whole

_LAST_PORT = 65535
# Part of the names of a unit of systemd and of a lock.
_NAME = re.compile("[A-Za-z0-9_-]{0,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How ``vllm serve`` is run.

    ``name``: what ``labctl up`` calls it. ``address``: where it binds; ``port`` 0: a free one, chosen on the host.
    ``restarts``: how often at most an engine that died is started anew. ``chat_template``: "" (the model's own, else
    one of ours), "none" (never one of ours) or a path on the host. ``dev``: vLLM's dev mode (VLLM_SERVER_DEV_MODE),
    loopback only. ``health_s``: seconds that it may take until it is healthy. An API key is no part of it: it
    travels as VLLM_API_KEY in the run's 0600 file of secrets.
    """

    name: str = ""
    address: str = LOOPBACK
    port: int = 0
    restarts: int = 0
    chat_template: str = ""
    dev: bool = False
    health_s: int = 1800

    def check(self) -> None:
        """Raise SpecError where the server cannot be run."""
        for key, least in (("port", 0), ("restarts", 0), ("health_s", 1)):
            whole(f"server.{key}", getattr(self, key), least)
        if self.port > _LAST_PORT:
            raise SpecError(f"server.port must be at most {_LAST_PORT}, not {self.port}")
        if not _NAME.fullmatch(self.name):
            raise SpecError(f"a server's name has letters, digits, - and _, 40 at most, not {self.name!r}")
        if not self.address:
            raise SpecError("server.address is empty")
        if self.dev and self.address != LOOPBACK:
            raise SpecError(f"vLLM's dev mode is for {LOOPBACK} alone, not for a server that binds {self.address}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One engine over several hosts: this host's part of it.

    ``hosts`` (their inventory names) and ``addresses`` (private, one each, in the order of ranks; the first one's is
    vLLM's ``--master-addr``); ``rank``: this host's place; ``port``: vLLM's ``--master-port``, ``peer_port`` the
    one on which labctl's supervisors hear of each other; ``runs``: the run ids in the order of ranks.
    """

    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    rank: int = 0
    port: int = 29501
    peer_port: int = 29502

    def check(self) -> None:
        """Raise SpecError where the span makes no sense."""
        many = len(self.hosts)
        if many < 2 or len(self.addresses) != many or len(self.runs) != many:  # noqa: PLR2004 - one host is no span
            raise SpecError("a span needs at least two hosts, and an address and a run for each")
        whole("span.rank", self.rank, 0)
        if self.rank >= many:
            raise SpecError(f"span.rank must be below {many}, not {self.rank}")
        for key in ("port", "peer_port"):
            whole(f"span.{key}", getattr(self, key), 1)
