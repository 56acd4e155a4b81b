"""A test host whose first process is systemd, with a real sshd: for what is left to units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.hosts import engine, image
from tests.hosts.machine import Machine
from tests.hosts.variant import Variant

if TYPE_CHECKING:
    from tests.hosts.network import Network

# As image.SYSTEMD; ssh.service, which logins are part of where there is no logind, ends all of them when it stops.
RECIPE = (
    image.SYSTEMD.replace("    systemd ", "    openssh-server python3-venv python3-psutil dbus-user-session systemd ")
    + """
rm -f /etc/ssh/ssh_host_*
mkdir -p /etc/systemd/system/ssh.service.d
printf '[Service]\\nKillMode=control-group\\nExecStartPre=\\nExecStartPre=/usr/bin/ssh-keygen -A\\n' \\
    > /etc/systemd/system/ssh.service.d/test.conf
systemctl enable ssh
"""
)


class SystemdMachine(Machine):
    """As a Machine of the default variant, or of user lab."""

    def __init__(self, client: Any, name: str, network: Network, user: str = "root") -> None:
        """Start it and wait for sshd."""
        self.name, self.variant = name, Variant(user=user)
        self.user, self.home, self.port = self.variant.user, self.variant.home, self.variant.port
        self.lab_dir = f"{self.home}/labctl"
        self.addresses = {network.name: network.take()}
        self.address = self.addresses[network.name]
        place = client.api.create_endpoint_config(ipv4_address=self.address)
        self.container = client.containers.create(
            image.image(client, RECIPE),
            ["/lib/systemd/systemd"],
            hostname=name,
            environment={"container": "docker"},
            labels={engine.LABEL: engine.owner()},
            network=network.name,
            networking_config={network.name: place},
            cgroupns="host",
            tmpfs={"/run": "", "/run/lock": ""},
            volumes=["/sys/fs/cgroup:/sys/fs/cgroup:ro"],
        )
        self.start()
