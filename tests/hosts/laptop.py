"""One user's machine: a project, a key, an ssh_config and known_hosts of its own, and the labctl program."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.conftest import Project
from tests.hosts import engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hosts.machine import Machine

# OpenSSH takes the home directory from the user database, whatever HOME says: so its programs are wrapped.
_WRAPPER = '#!/bin/sh\nexec {program} -F {config} "$@"\n'
_DEFAULTS = """
Host *
    IdentityFile {key}
    IdentitiesOnly yes
    UserKnownHostsFile {known}
    GlobalKnownHostsFile /dev/null
"""
# Settings of pip and others stay this machine's own.
_KEPT = (".config", ".cache", ".local")


class Laptop(Project):
    """Runs labctl, ssh and Ansible as a user who owns nothing but ``folder``."""

    def __init__(self, folder: Path) -> None:
        """Make a project with an empty inventory, and a key."""
        engine.need("ssh")
        super().__init__(folder)
        self.inventory = folder / "inventory.ini"
        self.inventory.parent.mkdir(parents=True, exist_ok=True)
        self.inventory.write_text("")
        home = folder / "home"
        dot_ssh = home / ".ssh"
        dot_ssh.mkdir(parents=True, mode=0o700)
        self.key, self.known_hosts, self.ssh_config = (dot_ssh / n for n in ("id_ed25519", "known_hosts", "config"))
        for name in _KEPT:
            if (Path.home() / name).exists():
                (home / name).symlink_to(Path.home() / name)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", folder.name, "-f", self.key], check=True)
        self.known_hosts.touch()
        self.ssh_config.write_text(_DEFAULTS.format(key=self.key, known=self.known_hosts))
        self._wrap(folder / "bin")
        self.env |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HOME": str(home)}
        self.env.pop("SSH_AUTH_SOCK", None)

    def _wrap(self, folder: Path) -> None:
        folder.mkdir()
        for name in ("ssh", "scp", "sftp"):
            program = shutil.which(name)
            if program:
                (folder / name).write_text(_WRAPPER.format(program=program, config=self.ssh_config))
                (folder / name).chmod(0o755)

    @property
    def public_key(self) -> str:
        """One line, as authorized_keys wants it."""
        return self.key.with_suffix(".pub").read_text().strip()

    def add(self, machine: Machine, name: str = "gpu1", **inventory: object) -> None:
        """Name a host in the inventory and let this laptop's key in. ``inventory`` replaces; None leaves out."""
        machine.authorize(self.public_key)
        known = {"ansible_host": machine.address, "ansible_user": machine.user, "ansible_port": machine.port}
        values = {**known, "lab_dir": machine.lab_dir, **inventory}
        words = [f"{key}={str(value)!r}" for key, value in values.items() if value is not None]
        with self.inventory.open("a") as lines:
            lines.write(f"{name} {' '.join(words)}\n")

    def know(self, machine: Machine, name: str = "") -> None:
        """Accept its host key, for its address or for another ``name`` (an alias)."""
        where = name or machine.address
        where = where if machine.port == 22 else f"[{where}]:{machine.port}"
        with self.known_hosts.open("a") as lines:
            lines.write(f"{where} {machine.host_key()}\n")

    def configure(self, text: str) -> None:
        """Put ``Host`` blocks first in ssh_config: the first value of an option wins."""
        self.ssh_config.write_text(text.rstrip() + "\n" + self.ssh_config.read_text())

    def ssh(self, *words: str, code: int | None = 0, stdin: str = "", timeout: float = 60.0) -> str:
        """Output of the plain ssh program, stdout first; ``code`` None: whatever it ends with."""
        command = ["ssh", "-o", "BatchMode=yes", *words]
        done = subprocess.run(
            command, env=self.env, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert code in {None, done.returncode}, f"ssh {' '.join(words)} gave {done.returncode}: {done.stderr}"
        return done.stdout + done.stderr

    def to(self, machine: Machine) -> list[str]:
        """The words by which ssh finds a machine that is in no ssh_config."""
        return ["-p", str(machine.port), f"{machine.user}@{machine.address}"]

    @contextlib.contextmanager
    def agent(self) -> Iterator[None]:
        """An ssh-agent with this laptop's key, whose private half is meanwhile nowhere else."""
        # A socket's path has at most 107 bytes, and pytest's folders are long.
        aside, socket = self.key.with_name("aside"), Path(f"/tmp/labctl-agent-{os.getpid()}-{id(self):x}")  # noqa: S108
        process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while not socket.exists():
                assert time.monotonic() < deadline, "ssh-agent did not start"
                time.sleep(0.02)
            self.env["SSH_AUTH_SOCK"] = str(socket)
            subprocess.run(["ssh-add", "-q", self.key], env=self.env, check=True)
            self.key.rename(aside)
            yield
        finally:
            self.env.pop("SSH_AUTH_SOCK", None)
            if aside.exists():
                aside.rename(self.key)
            process.terminate()
            process.wait(timeout=10)
            socket.unlink(missing_ok=True)


def laptop_of(folder: Path, machine: Machine, name: str = "gpu1", **inventory: object) -> Laptop:
    """A new laptop that knows one host and may enter it (see Laptop.add)."""
    made = Laptop(folder / "laptop")
    made.add(machine, name, **inventory)
    made.know(machine)
    return made
