"""A Docker network whose hosts keep their address when they are stopped and started."""

from __future__ import annotations

import ipaddress
import itertools
from typing import Any

from tests.hosts import engine

_NUMBERS = itertools.count(1)


class Network:
    """A bridge; with ``internal`` one without a way out."""

    def __init__(self, client: Any, *, internal: bool = False) -> None:
        """Make it."""
        import docker

        self.name = f"labctl-test-{engine.owner().replace(':', '-')}-{next(_NUMBERS)}"
        labels = {engine.LABEL: engine.owner()}
        made = client.networks.create(self.name, internal=internal, labels=labels)
        # An address can only be fixed where the subnet was given: so the one that Docker found free is given back.
        made.reload()
        self.subnet = ipaddress.ip_network(made.attrs["IPAM"]["Config"][0]["Subnet"])
        made.remove()
        pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=str(self.subnet))])
        self._docker = client.networks.create(self.name, internal=internal, labels=labels, ipam=pool)
        # The first is the machine's own end of the bridge.
        self._free = itertools.islice(self.subnet.hosts(), 1, None)

    def take(self) -> str:
        """An address that nobody else gets."""
        return str(next(self._free))

    def connect(self, container: Any, address: str) -> None:
        """Give a container a second network."""
        self._docker.connect(container, ipv4_address=address)

    def remove(self) -> None:
        """Remove it; its hosts must be gone."""
        self._docker.remove()
