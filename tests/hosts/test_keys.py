"""Whose key is trusted, which key is offered, and which way leads to a host: as OpenSSH does it, or refused."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labctl.errors import HostKeyError, LabError, UnreachableError
from labctl.inventory import Host
from labctl.sessions.ssh import SshSession, connect
from labctl.sessions.ssh.host_keys import UnknownHostKeyError
from tests.e2e.conftest import LABCTL, until
from tests.hosts import light_lab
from tests.hosts.laptop import Laptop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hosts.fleet import Fleet
    from tests.hosts.machine import Machine
    from tests.hosts.network import Network

_EVERY_KIND = """
for kind in rsa ecdsa; do
  ssh-keygen -q -t $kind -N '' -f /etc/ssh/ssh_host_${kind}_key
  echo "HostKey /etc/ssh/ssh_host_${kind}_key" >> /etc/ssh/sshd_config
done
useradd --create-home --shell /usr/sbin/nologin shut
"""


@pytest.fixture(scope="module")
def odd(fleet: Fleet) -> Iterator[Machine]:
    """A host with a port, three host keys, a greeting for programs, no SFTP, and a user who may run nothing."""
    made = fleet.machine("odd", user="lab", port=2222, sftp=False, noisy=True)
    made.shell(_EVERY_KIND)
    made.restart_sshd()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def lan(fleet: Fleet, inner_network: Network) -> Iterator[tuple[Machine, Machine, Machine]]:
    """A jump host and two hosts that only it reaches."""
    jump = fleet.machine("jump", networks=[fleet.network, inner_network])
    behind = [
        fleet.machine(n, networks=[inner_network], only_from=jump.address_on(inner_network)) for n in ("deep1", "deep2")
    ]
    yield jump, behind[0], behind[1]
    for one in (*behind, jump):
        one.remove()


@pytest.fixture
def stranger(tmp_path: Path, gpu1: Machine) -> Laptop:
    """A laptop that gpu1 lets in, and that has never seen gpu1."""
    made = Laptop(tmp_path / "laptop")
    made.add(gpu1)
    return made


@pytest.fixture
def enter(stranger: Laptop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """``enter(address, user, port)``: the host's name, asked over labctl's session from the laptop's home."""

    def ask(address: str, user: str | None = None, port: int | None = None, name: str = "gpu1") -> str:
        for variable in ("PATH", "HOME"):
            monkeypatch.setenv(variable, stranger.env[variable])
        if "SSH_AUTH_SOCK" in stranger.env:
            monkeypatch.setenv("SSH_AUTH_SOCK", stranger.env["SSH_AUTH_SOCK"])
        else:
            monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        host = Host(name=name, connection="ssh", lab_dir="labctl", address=address, user=user, port=port)
        with SshSession(host) as session:
            return session.run(["hostname"]).out.strip()

    yield ask
    while connect._gateways:
        connect._gateways.popitem()[1].close()


@contextlib.contextmanager
def agent(*keys: Path) -> Iterator[str]:
    """The socket of an ssh-agent that holds these keys. A socket's path has at most 107 bytes."""
    place = Path(f"/tmp/labctl-keys-{os.getpid()}-{time.monotonic_ns():x}")  # noqa: S108
    process = subprocess.Popen(["ssh-agent", "-D", "-a", place], stdout=subprocess.DEVNULL)
    try:
        until(place.exists, within=10)
        subprocess.run(["ssh-add", "-q", *keys], env={**os.environ, "SSH_AUTH_SOCK": str(place)}, check=True)
        yield str(place)
    finally:
        process.terminate()
        process.wait(timeout=10)
        place.unlink(missing_ok=True)


def new_key(path: Path, passphrase: str = "") -> Path:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-a", "1", "-N", passphrase, "-f", path]
    subprocess.run([str(word) for word in words], check=True)
    return path


def logins(machine: Machine) -> int:
    return int(machine.container.logs().count(b"Accepted publickey"))


def known(laptop: Laptop) -> str:
    return laptop.known_hosts.read_text()


def on_a_terminal(laptop: Laptop, answer: str, *words: str) -> tuple[int, str]:
    """Exit code and screen of labctl at a terminal where someone types ``answer`` at the first question."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [str(LABCTL), *words], stdin=slave, stdout=slave, stderr=slave, env=laptop.env, start_new_session=True
    ) as process:
        os.close(slave)
        screen = b""
        with contextlib.suppress(OSError):  # the terminal's end, once the program is gone
            while data := os.read(master, 4096):
                screen += data
                if answer and b"[y/N]" in screen:
                    os.write(master, f"{answer}\n".encode())
                    answer = ""
        os.close(master)
        return process.wait(timeout=30), screen.decode()


# --- host keys: whose key is trusted


def test_an_unknown_key_is_refused_until_someone_compared_it(stranger: Laptop, gpu1: Machine, tmp_path: Path) -> None:
    public = tmp_path / "gpu1.pub"
    public.write_text(gpu1.host_key() + "\n")
    told = subprocess.run(["ssh-keygen", "-lf", public], capture_output=True, text=True, check=True).stdout.split()[1]
    said = stranger("runs", "--host", "gpu1", code=5)
    assert f"ssh-ed25519 {told}" in said
    assert "next: labctl hosts trust gpu1" in said.replace(f"{LABCTL} ", "labctl ")
    assert "Traceback" not in said

    nobody = stranger("hosts", "trust", "gpu1", code=5)
    assert told in nobody
    assert "hosts trust gpu1 --fingerprint SHA256:…" in nobody
    wrong = "SHA256:" + "A" * 43
    assert f"that is not {wrong}" in stranger("hosts", "trust", "gpu1", "--fingerprint", wrong, code=5)
    assert known(stranger) == ""

    assert str(stranger.known_hosts) in stranger("hosts", "trust", "gpu1", "--fingerprint", told)
    assert known(stranger) == f"{gpu1.address} {gpu1.host_key()}\n"
    stranger("runs", "--host", "gpu1")
    # Ansible's ssh reads the same file.
    assert stranger.ssh(*stranger.to(gpu1), "echo in") == "in\n"
    stranger("hosts", "trust", "gpu1")
    assert known(stranger).count("\n") == 1, "what is known is not remembered again"


@pytest.mark.parametrize(("answer", "code"), [("n", 5), ("y", 0)])
def test_a_terminal_is_asked(stranger: Laptop, gpu1: Machine, answer: str, code: int) -> None:
    ended, screen = on_a_terminal(stranger, answer, "hosts", "trust", "gpu1")
    assert ended == code, screen
    assert gpu1.host_key_fingerprint() in screen
    assert known(stranger) == (f"{gpu1.address} {gpu1.host_key()}\n" if answer == "y" else "")


def test_what_plain_ssh_learned_is_known(stranger: Laptop, gpu1: Machine, enter: Callable[..., str]) -> None:
    stranger.configure("Host *\n HashKnownHosts yes\n")
    stranger.ssh("-o", "StrictHostKeyChecking=accept-new", *stranger.to(gpu1), "true")
    assert known(stranger).startswith("|1|")
    assert enter(gpu1.address, "root") == "gpu1"


def test_a_hashed_name_is_written_where_ssh_would_and_with_its_port(
    stranger: Laptop, odd: Machine, enter: Callable[..., str]
) -> None:
    stranger.configure("Host *\n HashKnownHosts yes\n")
    stranger.add(odd, "odd")
    with pytest.raises(UnknownHostKeyError) as refused:
        enter(odd.address, "lab", 2222)
    stranger("hosts", "trust", "odd", "--fingerprint", refused.value.key.fingerprint)
    assert known(stranger).startswith("|1|")
    assert odd.address not in known(stranger)
    assert enter(odd.address, "lab", 2222) == "odd"
    assert stranger.ssh(*stranger.to(odd), "hostname").endswith("odd\n")


@pytest.mark.parametrize(
    "line",
    [
        "[{address}]:2222 {key}",
        "{address} {key}",  # OpenSSH: "found matching key w/out port"
        "*.invalid,[1*]:* {key}",
        "# a comment\n\nnonsense\n[{address}]:2222\t{key} with a comment",
        "[{address}]:2222 {other}\n[{address}]:2222 {key}",  # two keys of one kind: either will do
        "[{address}]:2222 {key}\n[{address}]:2222 {other}",
    ],
)
def test_every_way_to_write_a_name(
    stranger: Laptop, odd: Machine, enter: Callable[..., str], tmp_path: Path, line: str
) -> None:
    odd.authorize(stranger.public_key)
    other = " ".join(new_key(tmp_path / "other").with_suffix(".pub").read_text().split()[:2])
    stranger.known_hosts.write_text(line.format(address=odd.address, key=odd.host_key(), other=other) + "\n")
    assert stranger.ssh(*stranger.to(odd), "hostname").endswith("odd\n")
    assert enter(odd.address, "lab", 2222) == "odd"


@pytest.mark.parametrize("line", ["*,!*{address}* {key}", "{address} {key}", "@cert-authority [{address}]:2222 {key}"])
def test_another_name_does_not_count(
    stranger: Laptop, odd: Machine, enter: Callable[..., str], tmp_path: Path, line: str
) -> None:
    other = " ".join(new_key(tmp_path / "other").with_suffix(".pub").read_text().split()[:2])
    stranger.known_hosts.write_text(line.format(address=odd.address, key=other) + "\n")
    with pytest.raises(UnknownHostKeyError):
        enter(odd.address, "lab", 2222)


def test_an_alias_for_the_key_and_the_machines_own_file(
    stranger: Laptop, gpu1: Machine, enter: Callable[..., str], tmp_path: Path
) -> None:
    whole = tmp_path / "ssh_known_hosts"
    whole.write_text(f"the-name-of-its-key {gpu1.host_key()}\n")
    stranger.configure(f"Host *\n HostKeyAlias the-name-of-its-key\n GlobalKnownHostsFile {whole}\n")
    assert enter(gpu1.address, "root") == "gpu1"
    assert known(stranger) == ""


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_the_kind_of_key_that_is_known_is_asked_for(
    stranger: Laptop, odd: Machine, enter: Callable[..., str], kind: str
) -> None:
    odd.authorize(stranger.public_key)
    key = odd.read(f"/etc/ssh/ssh_host_{kind}_key.pub").decode().rpartition(" ")[0]
    stranger.known_hosts.write_text(f"[{odd.address}]:2222 {key}\n")
    assert enter(odd.address, "lab", 2222) == "odd"


def test_a_changed_key_is_refused_whatever_is_configured(stranger: Laptop, machine: Callable[..., Machine]) -> None:
    host = machine("changed")
    stranger.add(host, "changed")
    stranger.know(host)
    old = host.host_key_fingerprint()
    host.new_host_key()
    new = host.host_key_fingerprint()
    stranger.configure("Host *\n StrictHostKeyChecking no\n")
    before = known(stranger)
    for words in (["runs", "--host", "changed"], ["hosts", "trust", "changed", "--fingerprint", new]):
        said = stranger(*words, code=5)
        assert "CHANGED" in said
        assert old in said
        assert new in said
        assert f"ssh-keygen -R '{host.address}'" in said
    assert known(stranger) == before


def test_a_key_of_another_kind_than_known_is_a_changed_one(
    stranger: Laptop, gpu1: Machine, odd: Machine, enter: Callable[..., str]
) -> None:
    rsa = odd.read("/etc/ssh/ssh_host_rsa_key.pub").decode()
    stranger.known_hosts.write_text(f"{gpu1.address} {rsa}")
    with pytest.raises(HostKeyError, match="CHANGED"):
        enter(gpu1.address, "root")


@pytest.mark.parametrize("also_known", [True, False])
def test_a_revoked_key_is_refused(
    stranger: Laptop, gpu1: Machine, enter: Callable[..., str], *, also_known: bool
) -> None:
    if also_known:
        stranger.know(gpu1)
    with stranger.known_hosts.open("a") as lines:
        lines.write(f"@revoked * {gpu1.host_key()}\n")
    with pytest.raises(HostKeyError, match="is revoked"):
        enter(gpu1.address, "root")
    said = stranger("hosts", "trust", "gpu1", "--fingerprint", gpu1.host_key_fingerprint(), code=5)
    assert "is revoked" in said


def test_where_no_key_is_kept_none_is_trusted(stranger: Laptop, gpu1: Machine) -> None:
    stranger.configure("Host *\n UserKnownHostsFile /dev/null\n StrictHostKeyChecking no\n")
    said = stranger("hosts", "trust", "gpu1", "--fingerprint", gpu1.host_key_fingerprint(), code=5)
    assert "keeps no known hosts" in said
    assert "UserKnownHostsFile /dev/null" in said


# --- the way there


def test_a_jump_host_is_asked_about_first(stranger: Laptop, lan: tuple[Machine, Machine, Machine]) -> None:
    jump, deep, _ = lan
    jump.authorize(stranger.public_key)
    stranger.add(deep, "deep1", ansible_host="deep1")
    stranger.configure(
        f"Host gate\n HostName {jump.address}\n User root\nHost deep1\n HostName {deep.address}\n ProxyJump gate\n"
    )
    said = stranger("runs", "--host", "deep1", code=5)
    assert f"root@{jump.address}" in said
    assert jump.host_key_fingerprint() in said
    both = ("--fingerprint", jump.host_key_fingerprint(), "--fingerprint", deep.host_key_fingerprint())
    # With one of the two, what was compared is kept; the other stays unknown.
    said = stranger("hosts", "trust", "deep1", *both[:2], code=5)
    assert known(stranger) == f"{jump.address} {jump.host_key()}\n"
    assert f"root@{deep.address} shows the key\n  ssh-ed25519 {deep.host_key_fingerprint()}" in said
    stranger.known_hosts.write_text("")
    stranger("hosts", "trust", "deep1", *both)
    assert [line.split()[0] for line in known(stranger).splitlines()] == [jump.address, deep.address]
    assert stranger.ssh("deep1", "hostname") == "deep1\n"


def test_hosts_behind_one_jump_host_share_the_line_to_it(
    stranger: Laptop, lan: tuple[Machine, Machine, Machine]
) -> None:
    jump, *deep = lan
    blocks = [f"Host gate\n HostName {jump.address}\n User root\nHost deep*\n ProxyJump gate\n"]
    for host in (jump, *deep):
        stranger.know(host)
        stranger.add(host, host.name, ansible_host=host.name)
        blocks.append(f"Host {host.name}\n HostName {host.address}\n")
    stranger.configure("".join(blocks))
    before = [logins(host) for host in lan]
    stranger("runs", "--host", "deep1,deep2")
    assert [logins(host) - past for host, past in zip(lan, before, strict=True)] == [1, 1, 1]


def test_one_dead_jump_host_costs_its_hosts_one_wait(stranger: Laptop, machine: Callable[..., Machine]) -> None:
    gate = machine("gate")
    gate.cut()
    stranger.configure(f"Host gate\n HostName {gate.address}\n ConnectTimeout 2\nHost deep*\n ProxyJump gate\n")
    stranger.inventory.write_text("deep[1:6]\n")
    stranger("hosts")
    began = time.monotonic()
    said = stranger("runs", "--host", "all", code=4)
    assert time.monotonic() - began < 8
    assert all(f"deep{number}" in said for number in range(1, 7))


def test_a_proxy_command(stranger: Laptop, lan: tuple[Machine, Machine, Machine], enter: Callable[..., str]) -> None:
    jump, deep, _ = lan
    for host in (jump, deep):
        host.authorize(stranger.public_key)
        stranger.know(host)
    stranger.configure(f"Host deep1\n HostName {deep.address}\n ProxyCommand ssh -W %h:%p root@{jump.address}\n")
    assert enter("deep1", "root") == "deep1"


def test_a_proxy_command_that_fails(stranger: Laptop, enter: Callable[..., str]) -> None:
    stranger.configure("Host gpu1\n ProxyCommand echo no such proxy >&2; exit 1\n ConnectTimeout 3\n")
    with pytest.raises(UnreachableError, match="gpu1"):
        enter("gpu1", "root")


@pytest.mark.parametrize("ring", [("a", "b"), ("a", "b", "c"), ("a",)])
def test_jump_hosts_in_a_circle(stranger: Laptop, enter: Callable[..., str], ring: tuple[str, ...]) -> None:
    after = {name: ring[(number + 1) % len(ring)] for number, name in enumerate(ring)}
    stranger.configure("".join(f"Host {name}\n ProxyJump {to}\n" for name, to in after.items()))
    with pytest.raises(UnreachableError, match=r"circle|jumphost loop"):
        enter("a")


# --- which key is offered


@pytest.fixture
def laptop_key_aside(laptop: Laptop) -> Path:
    """The private half under a name that no configuration knows; the public half stays where it was."""
    return laptop.key.rename(laptop.folder / "elsewhere")


@pytest.fixture
def home(stranger: Laptop, gpu1: Machine) -> Laptop:
    """``stranger``, who has met gpu1: what ``enter`` enters from."""
    stranger.know(gpu1)
    return stranger


def test_a_key_that_only_the_agent_holds(home: Laptop, gpu1: Machine, enter: Callable[..., str]) -> None:
    with home.agent():
        assert enter(gpu1.address, "root") == "gpu1"
    home.key.rename(home.folder / "elsewhere")
    with pytest.raises(UnreachableError, match="offered: none"):
        enter(gpu1.address, "root")


def test_an_agent_at_another_socket(home: Laptop, gpu1: Machine, enter: Callable[..., str]) -> None:
    aside = home.key.rename(home.folder / "elsewhere")
    with agent(new_key(home.folder / "useless")) as usual, agent(aside) as other:
        home.env["SSH_AUTH_SOCK"] = usual
        with pytest.raises(UnreachableError):
            enter(gpu1.address, "root")
        home.configure(f"Host *\n IdentityAgent {other}\n")
        assert enter(gpu1.address, "root") == "gpu1"


def test_an_agent_that_is_gone(home: Laptop, gpu1: Machine, enter: Callable[..., str]) -> None:
    home.env["SSH_AUTH_SOCK"] = str(home.folder / "no-such-socket")
    assert enter(gpu1.address, "root") == "gpu1"


def test_a_key_with_a_passphrase(home: Laptop, gpu1: Machine, enter: Callable[..., str]) -> None:
    subprocess.run(["ssh-keygen", "-q", "-p", "-a", "1", "-N", "secret", "-f", home.key], check=True)
    said = home("runs", "--host", "gpu1", code=4)
    assert f"next: ssh-add {home.key}" in said
    # In the agent it is open, and the file's passphrase is nobody's business.
    plain = home.folder / "plain"
    plain.write_bytes(home.key.read_bytes())
    plain.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "secret", "-N", "", "-f", plain], check=True)
    with agent(plain) as place:
        home.env["SSH_AUTH_SOCK"] = place
        assert enter(gpu1.address, "root") == "gpu1"


def test_no_key_fits(home: Laptop, gpu1: Machine) -> None:
    home.key.unlink()
    home.key.with_suffix(".pub").unlink()
    new_key(home.key)
    said = home("runs", "--host", "gpu1", code=4)
    assert str(home.key) in said
    assert f"next: ssh-copy-id -i {home.key} root@{gpu1.address}" in said
    assert "Traceback" not in said


def test_an_agent_with_many_useless_keys(home: Laptop, gpu1: Machine, enter: Callable[..., str]) -> None:
    with agent(*(new_key(home.folder / f"useless{number}") for number in range(8))) as place:
        home.env["SSH_AUTH_SOCK"] = place
        assert enter(gpu1.address, "root") == "gpu1"
        # sshd hangs up after six: then the error says what to do.
        home.ssh_config.write_text(home.ssh_config.read_text().replace("IdentitiesOnly yes", ""))
        with pytest.raises(UnreachableError, match="IdentitiesOnly yes"):
            enter(gpu1.address, "root")


def test_a_public_half_names_the_agents_key(home: Laptop, gpu1: Machine, enter: Callable[..., str]) -> None:
    aside = home.key.rename(home.folder / "elsewhere")
    useless = [new_key(home.folder / f"useless{number}") for number in range(8)]
    public = home.key.with_suffix(".pub")
    home.ssh_config.write_text(
        home.ssh_config.read_text().replace(f"IdentityFile {home.key}", f"IdentityFile {public}")
    )
    with agent(*useless, aside) as place:
        home.env["SSH_AUTH_SOCK"] = place
        assert enter(gpu1.address, "root") == "gpu1"


def test_the_configuration_alone_says_how(home: Laptop, odd: Machine, enter: Callable[..., str]) -> None:
    home.add(odd, "odd", ansible_host="odd", ansible_user=None, ansible_port=None)
    home.know(odd)
    more = home.folder / "more.conf"
    more.write_text(f"Host odd\n HostName {odd.address}\n Port 2222\n")
    home.configure(f'Include {more}\nMatch originalhost odd exec "true"\n User lab\n')
    assert enter("odd", name="odd") == "odd"
    home("runs", "--host", "odd")


def test_tokens_in_the_name_of_a_key_file(home: Laptop, gpu1: Machine, enter: Callable[..., str]) -> None:
    home.key.rename(home.folder / f"{gpu1.address}-root")
    home.env["LABCTL_TEST_KEYS"] = str(home.folder)
    config = home.ssh_config.read_text().replace(f"IdentityFile {home.key}", f"IdentityFile {home.folder}/%h-%r")
    home.ssh_config.write_text(config)
    assert enter(gpu1.address, "root") == "gpu1"


# --- hosts that do not answer as they should


def test_a_host_that_runs_nothing_for_this_user(stranger: Laptop, odd: Machine, enter: Callable[..., str]) -> None:
    odd.authorize(stranger.public_key, "shut")
    stranger.know(odd)
    with pytest.raises(UnreachableError, match="not available") as refused:
        enter(odd.address, "shut", 2222)
    assert refused.value.exit_code == 4


@pytest.mark.parametrize("what", ["port closed", "host down", "name unknown"])
def test_nobody_answers(stranger: Laptop, gpu1: Machine, fleet: Fleet, what: str) -> None:
    address, port, why = {
        "port closed": (gpu1.address, 2, "Unable to connect|refused"),
        "host down": (fleet.network.take(), 22, "No route to host|Unable to connect"),
        "name unknown": ("no-such-host.invalid", 22, "(?i)name"),
    }[what]
    stranger.inventory.write_text(f"gone ansible_host={address} ansible_port={port} ansible_user=root\n")
    began = time.monotonic()
    said = stranger("runs", "--host", "gone", code=4)
    assert time.monotonic() - began < 15
    assert re.search(why, said), said
    assert "Traceback" not in said


_TALK = {
    "nothing": b"",
    "a web server": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "endless noise": b"x" * 4096,
    "endless lines": b"noise\r\n" * 500,
    "nonsense after the greeting": b"SSH-2.0-odd\r\n" + bytes(range(256)) * 16,
    "an ancient version": b"SSH-1.5-old\r\n",
}


@pytest.mark.parametrize("what", _TALK)
def test_a_peer_that_is_no_ssh_server(stranger: Laptop, what: str) -> None:
    over = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):
            line, _ = listener.accept()
            with line:
                while not over.is_set():
                    line.sendall(_TALK[what])
                    if not what.startswith("endless"):
                        break
                    over.wait(0.01)
                if what == "nothing":
                    over.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        stranger.configure("Host *\n ConnectTimeout 2\n")
        port = listener.getsockname()[1]
        stranger.inventory.write_text(f"liar ansible_host=127.0.0.1 ansible_port={port} ansible_user=root\n")
        began = time.monotonic()
        said = stranger("runs", "--host", "liar", code=4)
        over.set()
        thread.join()
    assert time.monotonic() - began < 10
    assert "liar" in said
    assert "Traceback" not in said
    assert len(said) < 600, said


# --- one line for everything


def test_one_connection_for_a_whole_run(laptop: Laptop, gpu1: Machine) -> None:
    before = logins(gpu1)
    laptop("run", "offline", "--host", "gpu1", "--model", light_lab.MODEL, "--prompt", "sleep 0.2", "--repeats", "1")
    assert logins(gpu1) - before == 1
    assert laptop.record()["status"] == "ok"


def test_small_packets_go_at_once_and_a_dead_peer_is_noticed(
    home: Laptop, gpu1: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", home.env["PATH"])
    host = Host(name="gpu1", connection="ssh", lab_dir="labctl", address=gpu1.address, user="root")
    with SshSession(host) as session:
        assert session._line is not None
        sock = session._line.transport.sock
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert 0 < sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 60_000
    assert issubclass(UnreachableError, LabError)
