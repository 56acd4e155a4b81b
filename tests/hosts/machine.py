"""One test host: a container with a real sshd."""

from __future__ import annotations

import base64
import hashlib
import io
import shlex
import socket
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING, Any

from tests.hosts import engine

if TYPE_CHECKING:
    from tests.hosts.network import Network
    from tests.hosts.variant import Variant

_RESTART = """
old=$(cat /run/sshd.pid)
kill "$old"
{more}
while [ ! -s /run/sshd.pid ] || [ "$(cat /run/sshd.pid)" = "$old" ]; do sleep 0.02; done
"""
_END = "(the end of the file)"
# Processes called sshd are those of sessions; what they have started lives on.
_END_SESSIONS = 'for one in $(pgrep -x sshd); do [ "$one" = "$old" ] || kill -9 "$one" 2>/dev/null || true; done'


class Machine:
    """``address`` and ``port`` reach sshd from the Docker host, unless ``variant.only_from`` says who else may."""

    def __init__(self, client: Any, image: str, name: str, variant: Variant, networks: list[Network]) -> None:
        """Start it and wait for sshd."""
        self.name, self.variant = name, variant
        self.user, self.home, self.port = variant.user, variant.home, variant.port
        # Where light_lab puts a lab and what the inventory says; a test may set another.
        self.lab_dir = f"{self.home}/labctl"
        self.addresses = {network.name: network.take() for network in networks}
        first = networks[0].name
        self.address = self.addresses[first]
        place = client.api.create_endpoint_config(ipv4_address=self.address)
        self.container = client.containers.create(
            image,
            ["bash", "-c", variant.script()],
            hostname=name,
            init=True,
            shm_size="1g",
            labels={engine.LABEL: engine.owner()},
            network=first,
            networking_config={first: place},
            tmpfs={path: f"size={size},mode=1777,exec" for path, size in variant.tmpfs.items()},
            volumes=list(variant.binds),
        )
        for network in networks[1:]:
            network.connect(self.container, self.addresses[network.name])
        self.start()

    def address_on(self, network: Network) -> str:
        """Its address on one of its networks."""
        return self.addresses[network.name]

    def shell(self, command: str, user: str = "root", *, check: bool = True) -> str:
        """Standard output, and error behind it, of a bash command; not over SSH."""
        code, (out, err) = self.container.exec_run(["bash", "-c", command], user=user, demux=True)
        text = ((out or b"") + (err or b"")).decode(errors="replace")
        assert code == 0 or not check, f"{command!r} on {self.name} gave {code}: {text}"
        return text

    def read(self, path: str) -> bytes:
        """A file's bytes.

        On a busy machine the engine now and then loses what a program in a container wrote, and says that all is well:
        what has not come to its end is asked for again.
        """
        for _ in range(3):
            code, out = self.container.exec_run(["sh", "-c", f'cat "$0" && printf %s "{_END}"', path])
            assert code == 0, f"{path} on {self.name}: {out.decode(errors='replace')}"
            if out.endswith(_END.encode()):
                return bytes(out[: -len(_END)])
        raise AssertionError(f"{path} on {self.name}: the engine does not give it")

    def write(self, path: str, data: bytes, mode: int = 0o644, owner: str = "root") -> None:
        """A file, and the folders above it."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            entry = tarfile.TarInfo("file")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        self.unpack(packed.getvalue(), "/var/labctl-test")
        words = ["install", "-D", "-m", f"{mode:o}", "-o", owner, "-g", owner, "/var/labctl-test/file", path]
        self.shell(f"{shlex.join(words)} && rm -r /var/labctl-test")

    def unpack(self, archive: bytes, folder: str) -> None:
        """A tar archive below a folder, which is made; on a tmpfs too (the engine's own way does not reach those)."""
        self.container.put_archive("/var", self._wrapped(archive))
        self.shell(f"mkdir -p {folder} && tar -xpf /var/labctl-test.tar -C {folder} && rm /var/labctl-test.tar")

    @staticmethod
    def _wrapped(archive: bytes) -> bytes:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as outer:
            entry = tarfile.TarInfo("labctl-test.tar")
            entry.size = len(archive)
            outer.addfile(entry, io.BytesIO(archive))
        return packed.getvalue()

    def authorize(self, key: str, user: str | None = None) -> None:
        """Let the holder of this public key in (default: as the host's own user)."""
        home = "~" + (user or self.user)
        self.shell(f"install -d -m 700 {home}/.ssh; echo {shlex.quote(key.strip())} >> {home}/.ssh/authorized_keys")
        self.shell(f"chown -R {user or self.user}: {home}/.ssh; chmod 600 {home}/.ssh/authorized_keys")

    def host_key(self) -> str:
        """The public host key: ``ssh-ed25519 AAAA...``."""
        kind, key, *_ = self.read("/etc/ssh/ssh_host_ed25519_key.pub").decode().split()
        return f"{kind} {key}"

    def host_key_fingerprint(self) -> str:
        """As ssh prints it: ``SHA256:...``."""
        digest = hashlib.sha256(base64.b64decode(self.host_key().split()[1])).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    def new_host_key(self) -> None:
        """Another host key, as after an installation from scratch."""
        self.shell("cd /etc/ssh && rm ssh_host_* && ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key")
        self.restart_sshd()

    def restart_sshd(self, *, kill_sessions: bool = False) -> None:
        """As an update of sshd does; with ``kill_sessions`` every SSH connection breaks."""
        self.shell(_RESTART.format(more=_END_SESSIONS if kill_sessions else ""))
        self._wait()

    def pause(self) -> None:
        """Freeze every process."""
        self.container.pause()

    def unpause(self) -> None:
        """Thaw them."""
        self.container.unpause()

    def cut(self) -> None:
        """Drop every packet to and from sshd: connections stay established on both ends, and silent."""
        self._rule("-A", "INPUT", "--dport", str(self.port), "-j", "DROP")
        self._rule("-A", "OUTPUT", "--sport", str(self.port), "-j", "DROP")

    def mend(self) -> None:
        """Let them through again; what TCP has kept is sent again within seconds."""
        self._rule("-D", "INPUT", "--dport", str(self.port), "-j", "DROP")
        self._rule("-D", "OUTPUT", "--sport", str(self.port), "-j", "DROP")

    def _rule(self, verb: str, chain: str, *words: str) -> None:
        """A rule of iptables within the container's network namespace."""
        engine.need("nsenter", "iptables")
        self.container.reload()
        inside = ["nsenter", "-t", str(self.container.attrs["State"]["Pid"]), "-n"]
        subprocess.run([*inside, "iptables", "-w", verb, chain, "-p", "tcp", *words], check=True)

    def stop(self) -> None:
        """Switch it off: its disk stays, its processes and tmpfs do not."""
        self.container.stop(timeout=2)

    def start(self) -> None:
        """Switch it on again, at the same address, and wait for sshd."""
        self.container.start()
        self._wait()
        if self.variant.only_from:
            refused = ["-j", "REJECT", "--reject-with", "icmp-host-unreachable"]
            self._rule("-A", "INPUT", "--dport", str(self.port), "!", "-s", self.variant.only_from, *refused)

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while not self._greets():
            assert time.monotonic() < deadline, f"no sshd on {self.name}: {self.container.logs(tail=20).decode()}"
            time.sleep(0.02)

    def _greets(self) -> bool:
        try:
            with socket.create_connection((self.address, self.port), timeout=1) as line:
                return line.recv(4) == b"SSH-"
        except OSError:
            return False

    def remove(self) -> None:
        """Remove it, with its disk."""
        self.container.remove(force=True, v=True)
