"""All test hosts of a session: made here, and gone at its end."""

from __future__ import annotations

from typing import Any

from tests.hosts import engine
from tests.hosts.machine import Machine
from tests.hosts.network import Network
from tests.hosts.variant import Variant


class Fleet:
    """Makes hosts on one network, which its hosts and the Docker host reach."""

    def __init__(self, client: Any, image: str) -> None:
        """Make their network."""
        self._client, self._image = client, image
        self.network = Network(client)

    def machine(self, name: str = "gpu1", *, networks: list[Network] | None = None, **variant: Any) -> Machine:
        """A running host; ``variant`` as the fields of Variant, the first network gives its address."""
        return Machine(self._client, self._image, name, Variant(**variant), networks or [self.network])

    def inner_network(self) -> Network:
        """Another network, without a way out."""
        return Network(self._client, internal=True)


def sweep(client: Any, *, everything: bool) -> None:
    """Remove containers and networks whose session is gone; with ``everything`` those of this session too."""
    wanted = {"label": engine.LABEL}
    for container in client.containers.list(all=True, filters=wanted):
        if _may_go(container.labels, everything=everything):
            container.remove(force=True, v=True)
    for network in client.networks.list(filters=wanted):
        if _may_go(network.attrs["Labels"], everything=everything):
            network.remove()


def _may_go(labels: dict[str, str], *, everything: bool) -> bool:
    who = labels.get(engine.LABEL, "")
    return bool(who) and (not engine.lives(who) or (everything and who == engine.owner()))
