"""What `ssh -G` prints, read as labctl needs it. The texts are OpenSSH 9.2's own (only lines that matter)."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.errors import UnreachableError
from labctl.sessions.ssh import settings

PLAIN = """host gpu1
user root
hostname gpu1
port 22
addressfamily any
hashknownhosts no
identitiesonly no
stricthostkeychecking ask
updatehostkeys true
identityfile ~/.ssh/id_rsa
identityfile ~/.ssh/id_ed25519
canonicaldomains none
globalknownhostsfile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2
userknownhostsfile /root/.ssh/known_hosts /root/.ssh/known_hosts2
connecttimeout none
"""
FULL = """host b
user ubuntu
hostname b.example.com
port 2222
hashknownhosts yes
identitiesonly yes
hostkeyalias keyb
identityagent /run/agent.sock
identityfile /keys/with space
identityfile %d/.ssh/%r@%h-%p-%n%%
identityfile ${LABCTL_TEST}/key
identityfile none
certificatefile ~/c
globalknownhostsfile none
userknownhostsfile none
connecttimeout 3
proxycommand nc -x "a b" %h %p %r %n 100%%
"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


def with_line(line: str) -> settings.Settings:
    return settings.parse(f"{PLAIN}{line}\n", "gpu1")


def test_a_host_that_no_file_names() -> None:
    assert settings.parse(PLAIN, "gpu1") == settings.Settings(
        alias="gpu1",
        hostname="gpu1",
        user="root",
        port=22,
        key_name="gpu1",
        known_hosts=(
            *(Path("/root/.ssh/known_hosts"), Path("/root/.ssh/known_hosts2")),
            *(Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2")),
        ),
        user_known_hosts=Path("/root/.ssh/known_hosts"),
        identities=(Path("/home/me/.ssh/id_rsa"), Path("/home/me/.ssh/id_ed25519")),
    )


def test_a_host_of_which_everything_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCTL_TEST", "/from/env")
    assert settings.parse(FULL, "b") == settings.Settings(
        alias="b",
        hostname="b.example.com",
        user="ubuntu",
        port=2222,
        key_name="keyb",
        known_hosts=(),
        user_known_hosts=None,
        hash_known_hosts=True,
        identities=(
            Path("/keys/with space"),
            Path("/home/me/.ssh/ubuntu@b.example.com-2222-b%"),
            Path("/from/env/key"),
        ),
        identities_only=True,
        agent="/run/agent.sock",
        proxy_command='nc -x "a b" b.example.com 2222 ubuntu b 100%',
        connect_timeout=3.0,
    )


@pytest.mark.parametrize(
    ("hostname", "port", "name"),
    [("10.0.0.1", 22, "10.0.0.1"), ("10.0.0.1", 2222, "[10.0.0.1]:2222"), ("fe80::2", 22, "fe80::2")],
)
def test_the_name_under_which_its_key_stands(hostname: str, port: int, name: str) -> None:
    assert settings.parse(f"hostname {hostname}\nuser me\nport {port}\n", "x").key_name == name


def test_a_variable_that_is_not_set_stays_as_it_is() -> None:
    text = with_line("identityfile ${LABCTL_NO_SUCH}/key").identities[-1]
    assert text == Path("${LABCTL_NO_SUCH}/key")


@pytest.mark.parametrize("lacking", ["hostname", "user", "port"])
def test_an_answer_that_lacks_something(lacking: str) -> None:
    text = "\n".join(line for line in PLAIN.splitlines() if not line.startswith(f"{lacking} "))
    with pytest.raises(UnreachableError, match="did not say how to reach it"):
        settings.parse(text, "gpu1")


@pytest.mark.parametrize("text", ["", "garbage", "hostname a\nuser b\nport many\n"])
def test_an_answer_that_is_none(text: str) -> None:
    with pytest.raises(UnreachableError):
        settings.parse(text, "gpu1")


@pytest.mark.parametrize(
    ("line", "variables", "agent"),
    [
        ("", {}, None),
        ("", {"SSH_AUTH_SOCK": "/usual"}, "/usual"),
        ("", {"SSH_AUTH_SOCK": ""}, None),
        ("identityagent SSH_AUTH_SOCK", {"SSH_AUTH_SOCK": "/usual"}, "/usual"),
        ("identityagent none", {"SSH_AUTH_SOCK": "/usual"}, None),
        ("identityagent $MINE", {"SSH_AUTH_SOCK": "/usual", "MINE": "/mine"}, "/mine"),
        ("identityagent $MINE", {"SSH_AUTH_SOCK": "/usual"}, None),
        ("identityagent /a b/c.sock", {"SSH_AUTH_SOCK": "/usual"}, "/a b/c.sock"),
        ("identityagent ~/c.sock", {}, "/home/me/c.sock"),
    ],
)
def test_which_agent_is_asked(
    monkeypatch: pytest.MonkeyPatch, line: str, variables: dict[str, str], agent: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert with_line(line).agent == agent


@pytest.mark.parametrize(
    ("line", "jumps"),
    [
        ("", ()),
        ("proxyjump none", ()),
        ("proxyjump gate", ("gate",)),
        ("proxyjump a,b@c:2,d", ("a", "b@c:2", "d")),
        ("proxyjump me@there@jump1:23,[fe80::1]:24", ("me@there@jump1:23", "[fe80::1]:24")),
    ],
)
def test_the_jump_hosts_in_their_order(line: str, jumps: tuple[str, ...]) -> None:
    assert with_line(line).jumps == jumps


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("gate", ("gate", None, None)),
        ("root@gate", ("gate", "root", None)),
        ("gate:2222", ("gate", None, 2222)),
        ("root@gate:2222", ("gate", "root", 2222)),
        ("a@b@gate", ("gate", "a@b", None)),
        ("ssh://root@gate:2222", ("gate", "root", 2222)),
        ("ssh://gate/", ("gate", None, None)),
        ("[fe80::1]:24", ("fe80::1", None, 24)),
        ("root@[fe80::1]", ("fe80::1", "root", None)),
        ("fe80::1", ("fe80::1", None, None)),
        ("10.0.0.1:22", ("10.0.0.1", None, 22)),
    ],
)
def test_one_jump_host(monkeypatch: pytest.MonkeyPatch, text: str, asked: tuple[object, ...]) -> None:
    said: list[tuple[object, ...]] = []
    monkeypatch.setattr(settings, "ask", lambda *words: said.append(words))
    settings.jump(text)
    assert said == [asked]


@pytest.mark.parametrize("text", ["", "@", "gate:", "gate:ssh", "[::1", "user@"])
def test_what_is_no_jump_host(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(settings, "ask", lambda *words: words)
    with pytest.raises(UnreachableError, match="ProxyJump names"):
        settings.jump(text)


@pytest.mark.parametrize(
    ("port", "shown", "words"), [(22, "root@gpu1", "root@gpu1"), (2222, "root@gpu1 port 2222", "-p 2222 root@gpu1")]
)
def test_how_it_is_named(port: int, shown: str, words: str) -> None:
    found = settings.parse(PLAIN.replace("port 22\n", f"port {port}\n"), "gpu1")
    assert (str(found), found.words) == (shown, words)
