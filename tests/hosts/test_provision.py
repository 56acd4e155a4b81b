"""`labctl provision` over SSH with the real Ansible: who becomes root, who is asked, and what is left behind.

Without vLLM: of the roles only ``system_packages`` runs, on hosts from which a package was removed.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import selectors
import shutil
import subprocess
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.e2e.conftest import LABCTL, until
from tests.hosts.laptop import Laptop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hosts.fleet import Fleet
    from tests.hosts.machine import Machine
    from tests.hosts.network import Network

TAGS = ("--tags", "system_packages")
# What a template, a shell or JSON would each take for something else; MARK is the part that nobody writes otherwise.
MARK = "Zq7vNk"
PASSWORD, WRONG = f"{MARK} {{{{ 6*7 }}}} '\"$HOME\\é", f"{MARK}-wrong"
TASK = re.compile(r"^(ok|changed|asks|failed|unreachable|skipped|\.\.\.) +[a-z_]+ : ")
# As when the host updates itself: apt's lock is held, here until somebody else has asked for it.
_UPDATING = """
import fcntl, subprocess
lock = open("/var/lib/apt/lists/lock", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
subprocess.run(["timeout", "90", "sh", "-c", "until pgrep -x apt-get; do sleep 0.02; done; sleep 1"])
"""
# Everyone on this machine may sudo for the password, but for `other`, whom no rule names.
_LEFT = "ls -d /root/.ansible* /home/*/.ansible* /tmp/* /var/tmp/* 2>/dev/null"
_USERS = """
useradd --create-home --shell /bin/bash twin
useradd --create-home --shell /bin/bash other
echo 'twin ALL=(ALL) ALL' > /etc/sudoers.d/twin
chpasswd < /root/password
rm /root/password
"""


@pytest.fixture(scope="module")
def many(fleet: Fleet) -> Iterator[Machine]:
    """One machine with several logins, each of them a host of the inventory."""
    made = fleet.machine("many", user="lab", sudo="password")
    words = {"lab": PASSWORD, "twin": PASSWORD, "other": WRONG}
    made.write("/root/password", "".join(f"{user}:{word}\n" for user, word in words.items()).encode())
    made.shell(_USERS)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def plain(fleet: Fleet) -> Iterator[Machine]:
    """A machine without the program sudo."""
    made = fleet.machine("plain", user="lab", sudo="gone")
    made.shell("dpkg --remove libnuma1")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def bare(fleet: Fleet, inner_network: Network) -> Iterator[Machine]:
    """A machine without Python, and the way to ``deep``."""
    made = fleet.machine("bare", python=False, networks=[fleet.network, inner_network])
    yield made
    made.remove()


@pytest.fixture(scope="module")
def deep(fleet: Fleet, bare: Machine, inner_network: Network) -> Iterator[Machine]:
    """Behind a jump host: a greeting for programs, no SFTP, sudo for a password; it lacks nothing."""
    odd = {"user": "lab", "sudo": "password", "sftp": False, "noisy": True, "port": 2222}
    made = fleet.machine("deep", networks=[inner_network], only_from=bare.address_on(inner_network), **odd)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory, many: Machine, plain: Machine, bare: Machine, deep: Machine
) -> Iterator[Laptop]:
    """A laptop that knows them all, where labctl is on PATH and temporary files have a folder of their own."""
    made = Laptop(tmp_path_factory.mktemp("desk") / "laptop")
    made.env["PATH"] += f":{LABCTL.parent}"
    # A short one: sockets lie in it.
    made.env["TMPDIR"] = tempfile.mkdtemp(prefix="labctl-desk-", dir="/tmp")
    for machine in (many, plain, bare, deep):
        made.add(machine, "lab" if machine is many else machine.name)
    for machine in (many, plain, bare):
        made.know(machine)
    for user in ("root", "twin", "other"):
        many.authorize(made.public_key, user)
    ways = "down ansible_host=127.0.0.1 ansible_port=1\nstranger\nchanged\nbehind\n"
    logins = [f"{user} ansible_host={many.address} ansible_user={user}\n" for user in ("root", "twin", "other")]
    made.inventory.write_text(made.inventory.read_text().replace(deep.address, "deep") + "".join(logins) + ways)
    jump = f"HostName {deep.address}\n HostKeyAlias deep\n ProxyJump"
    made.configure(f"Host deep\n {jump} root@{bare.address}\nHost behind\n {jump} stranger")
    for name in ("stranger", "changed"):
        made.configure(f"Host {name}\n HostName {many.address}\n User root\n HostKeyAlias {name}")
    with made.known_hosts.open("a") as known:
        known.write(f"deep {deep.host_key()}\nchanged {bare.host_key()}\n")
    yield made
    shutil.rmtree(made.env["TMPDIR"])


@pytest.fixture(autouse=True)
def nothing_is_left(desk: Laptop, many: Machine, plain: Machine, deep: Machine) -> Iterator[None]:
    """After each test: no process, no password, no scratch folder, and nothing of Ansible in anyone's home."""
    yield
    until(lambda: not processes(desk), within=20)
    assert list(Path(desk.env["TMPDIR"]).iterdir()) == []
    assert not (desk.folder / "home" / ".ansible").exists()
    assert holders(desk.folder) == []
    for machine in (many, plain, deep):
        # A task that was under way when the line was hung up ends by itself, and takes its files away.
        until(partial(_clean, machine), within=30)
        assert machine.shell(f"grep -rlF {MARK} /tmp /var /root /home /run /etc 2>/dev/null", check=False) == ""


def _clean(machine: Machine) -> bool:
    return machine.shell(_LEFT, check=False) == ""


def processes(desk: Laptop) -> list[str]:
    """Command lines of what runs with this laptop's folder of temporary files in its words or environment."""
    return [words for words, variables in everything() if desk.env["TMPDIR"] in words + variables]


def everything() -> Iterator[tuple[str, str]]:
    """Words and environment of each process of this machine, those of the containers included."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words, variables = ((process / name).read_bytes() for name in ("cmdline", "environ"))
            yield words.replace(b"\0", b" ").decode(errors="replace"), variables.decode(errors="replace")


def holders(folder: Path) -> list[Path]:
    """Files that hold a password."""
    return [path for path in folder.rglob("*") if path.is_file() and MARK.encode() in path.read_bytes()]


class Watch(threading.Thread):
    """Looks at every process until it is left: ``seen`` words, and those of them that ``told`` a password."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[str] = set()
        self.told: set[str] = set()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.05):
            for words, variables in everything():
                self.seen.add(words)
                if MARK in words + variables:
                    self.told.add(words)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def lack(machine: Machine, package: str) -> None:
    machine.shell(f"dpkg --remove {package}")


def piped(desk: Laptop, stdin: str, *words: str) -> tuple[int, str]:
    """Exit code and words of labctl where a program writes its stdin."""
    done = subprocess.run(
        [str(LABCTL), *words], env=desk.env, input=stdin, capture_output=True, text=True, timeout=180, check=False
    )
    return done.returncode, done.stdout + done.stderr


def typed(desk: Laptop, keys: list[tuple[str, str]], *words: str) -> tuple[int, str]:
    """Exit code and screen of labctl at a terminal where someone types what follows each of the awaited words."""
    master, slave = pty.openpty()
    # With the terminal in control, which is where getpass asks and what Ctrl-C comes through.
    command = ["setsid", "--ctty", str(LABCTL), *words]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=desk.env)
    os.close(slave)
    screen, deadline, left = "", time.monotonic() + 180, list(keys)
    with contextlib.suppress(OSError), selectors.DefaultSelector() as ready:  # OSError: the program has gone
        ready.register(master, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if ready.select(1):
                screen += os.read(master, 4096).decode()
            if left and left[0][0] in screen:
                os.write(master, left.pop(0)[1].encode())
        process.kill()
    os.close(master)
    return process.wait(timeout=10), _plain(screen)


def _plain(screen: str) -> str:
    """What is on a screen without what only moves on it: the live rows are drawn again and again."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.replace("\r\n", "\n")).replace("\r", "\n")


def lines_of(host: str, said: str) -> list[str]:
    """What labctl tells of one host's tasks where there are several hosts."""
    return [line[len(host) :].strip() for line in said.splitlines() if re.match(rf"{host} +\S", line)]


def complaint(host: str, said: str) -> str:
    """What it says at the end about one host that failed."""
    found = re.findall(r"^labctl: .*(?:\n  (?:\||next:).*)*", said, re.MULTILINE)
    mine = [text for text in found if re.search(rf"\b{host}\b", text.partition("\n")[0])]
    assert len(mine) == 1, said
    return str(mine[0])


def test_each_of_several_hosts_is_told_of_for_itself(desk: Laptop, many: Machine) -> None:
    lack(many, "libnuma1")
    names = ["lab", "other", "plain", "bare", "deep", "down"]
    code, said = piped(desk, "", "provision", ",".join(names), *TAGS)
    assert code == 7, said
    for name in names[:-1]:
        assert lines_of(name, said), said
        assert all(TASK.match(line) for line in lines_of(name, said)), said
    # Nobody can be asked here; sudo says only for a password that `other` may not.
    for name in ("lab", "other"):
        assert "Installing it takes sudo's password" in complaint(name, said)
        assert "apt-get install libnuma1\n" in complaint(name, said)
        assert complaint(name, said).endswith(f"next: labctl provision {name} --ask-become-pass")
    assert "Neither root nor passwordless sudo is at hand" in complaint("plain", said)
    assert "Run as root, then provision again: apt-get install libnuma1\n" in complaint("plain", said)
    assert "This host has no Python 3.8 or newer" in complaint("bare", said)
    # Its packages say that there is one, so that installing it changes nothing.
    assert "Run as root there, then provision again: apt-get install python3 (tried: " in complaint("bare", said)
    assert "down cannot be reached" in complaint("down", said)
    # Behind a jump host, with a greeting and without SFTP; where nothing is missing, sudo's password is no matter.
    assert re.search(r"^deep: \d+ tasks ok, 0 changed, in", said, re.MULTILINE)


def test_a_line_that_cannot_be_had(desk: Laptop) -> None:
    code, said = piped(desk, "", "provision", "down", *TAGS)
    assert code == 4, said
    # In the words of labctl's own session, as every other verb says it; Ansible was not even started.
    assert "down cannot be reached at root@127.0.0.1 port 1" in complaint("down", said)
    assert complaint("down", said).endswith("next: ssh -p 1 root@127.0.0.1 true")
    assert not (desk.folder / ".labctl" / "logs" / "provision-down.log").exists()
    code, said = piped(desk, "", "provision", "down,stranger,changed,behind", *TAGS)
    assert code == 5, said
    assert complaint("stranger", said).endswith("next: labctl hosts trust stranger")
    assert "has CHANGED" in complaint("changed", said)
    assert "next:" not in complaint("changed", said)
    # The key of the jump host, of which ssh itself says nothing.
    assert complaint("behind", said).endswith("next: labctl hosts trust behind")


def test_a_wrong_password_and_a_user_who_may_not(desk: Laptop, many: Machine) -> None:
    lack(many, "libnuma1")
    code, said = piped(desk, f"{WRONG}\n", "provision", "lab,other", "-K", *TAGS)
    assert code == 7, said
    assert complaint("lab", said) == (
        "labctl: sudo on lab did not take the password: Incorrect sudo password\n"
        "  next: labctl provision lab --ask-become-pass"
    )
    # It is the right one for `other`.
    assert "other is not in the sudoers file" in complaint("other", said)
    assert complaint("other", said).endswith("next: labctl doctor --host other")
    assert MARK not in said


def test_a_password_installs_and_is_seen_nowhere_while_the_host_updates_itself(desk: Laptop, many: Machine) -> None:
    lack(many, "libnuma1")
    many.container.exec_run(["python3", "-c", _UPDATING], detach=True)
    with Watch() as watch:
        code, said = piped(desk, f"{PASSWORD}\n", "provision", "lab", "-K", *TAGS)
    assert code == 0, said
    assert re.search(r"^lab: \d+ tasks ok, [1-9]\d* changed, in", said, re.MULTILINE)
    assert many.shell("ldconfig -p | grep libnuma")
    assert "RETRYING" in (desk.folder / ".labctl" / "logs" / "provision-lab.log").read_text()
    assert any(words.startswith("sudo -H -S") for words in watch.seen), "the host's processes were looked at too"
    assert any("[mux]" in words and desk.env["TMPDIR"] in words for words in watch.seen)
    assert watch.told == set()
    assert MARK not in said


def test_a_terminal_is_asked_once_for_all_who_need_it(desk: Laptop, many: Machine) -> None:
    lack(many, "libnuma1")
    code, screen = typed(desk, [("sudo password for", f"{PASSWORD}\n")], "provision", "lab,twin,deep", *TAGS)
    assert code == 0, screen
    assert re.findall("sudo password for .*", screen) == ["sudo password for lab@lab, twin@twin: "]
    assert re.search(r"^deep: \d+ tasks ok, 0 changed, in", screen, re.MULTILINE)
    assert len(re.findall(r"^(?:lab|twin): \d+ tasks ok, ", screen, re.MULTILINE)) == 2
    assert many.shell("ldconfig -p | grep libnuma")
    assert MARK not in screen


def test_an_empty_answer_goes_on_without_the_compiler_which_root_installs(desk: Laptop, many: Machine) -> None:
    many.shell("ldconfig -p | grep -q libnuma || { apt-get -qq update && apt-get -qq -y install libnuma1; }")
    lack(many, "g++")
    code, screen = typed(desk, [("sudo password for", "\n")], "provision", "lab,deep", *TAGS)
    assert code == 0, screen
    assert screen.count("sudo password for lab@lab: ") == 1
    assert not re.search("^ ", screen, re.MULTILINE), "each line tells its host, the second time too"
    assert "vLLM will run in eager mode: this host lacks g++" in screen
    assert re.search(r"^root: \d+ tasks ok, [1-9]\d* changed, in", desk("provision", "root", *TAGS), re.MULTILINE)
    many.shell("command -v g++")
    code, screen = typed(desk, [], "provision", "lab,root", *TAGS)
    assert code == 0, screen
    assert len(re.findall(r"^(?:lab|root): \d+ tasks ok, 0 changed, in", screen, re.MULTILINE)) == 2
    assert "sudo password for" not in screen


def test_ctrl_c_leaves_nothing_behind(desk: Laptop) -> None:
    keys = [("sudo password for", f"{PASSWORD}\n"), ("Need a Python for Ansible", "\x03")]
    code, screen = typed(desk, keys, "provision", "lab,twin", "-K", *TAGS)
    assert code == 130, screen
    assert "tasks ok" not in screen
