"""Which keys are offered, and in which order."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from paramiko import Ed25519Key
from paramiko.ssh_exception import SSHException

from labctl.sessions.ssh import auth
from labctl.sessions.ssh.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


class Agent:
    """An agent that holds ``inside``; ``closed`` counts how often it was let go."""

    inside: tuple[Any, ...] = ()
    closed = 0

    def __init__(self, path: str) -> None:
        if path == "/gone":
            raise FileNotFoundError(path)
        if path == "/odd":
            raise SSHException("could not get keys from ssh-agent")

    def get_keys(self) -> tuple[Any, ...]:
        return Agent.inside

    def close(self) -> None:
        Agent.closed += 1


@pytest.fixture(autouse=True)
def no_true_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_Agent", Agent)
    Agent.inside, Agent.closed = (), 0


def make(path: Path, passphrase: bytes = b"", *, public: bool = True) -> Any:
    """A key file; with ``public`` its public half beside it."""
    closing = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    key = ed25519.Ed25519PrivateKey.generate()
    kind, encoding = serialization.PrivateFormat.OpenSSH, serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(encoding, kind, closing))
    open_ = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    if public:
        path.with_name(path.name + ".pub").write_bytes(open_ + b" me@laptop\n")
    return Ed25519Key(data=base64.b64decode(open_.split()[1]))


def offered(*identities: Path, agent: str | None = "/agent", only: bool = False) -> tuple[list[str], auth.Keys]:
    """Base64 of the keys in the order in which they are tried."""
    where = Settings(
        alias="gpu1",
        hostname="gpu1",
        user="me",
        port=22,
        key_name="gpu1",
        known_hosts=(),
        identities=identities,
        identities_only=only,
        agent=agent,
    )
    keys = auth.Keys(where)
    sources = list(keys.get_sources())
    assert {source.username for source in sources} <= {"me"}
    return [source.pkey.get_base64() for source in sources], keys


def test_the_agents_keys_come_in_the_order_of_openssh(tmp_path: Path) -> None:
    named, other, file = (make(tmp_path / name) for name in ("named", "other", "file"))
    Agent.inside = (other, named)
    order, keys = offered(tmp_path / "file", tmp_path / "named")
    assert order == [key.get_base64() for key in (named, other, file)]
    assert keys.offered == ["the agent's ssh-ed25519", "the agent's ssh-ed25519", str(tmp_path / "file")]
    assert Agent.closed == 1


def test_only_what_is_named(tmp_path: Path) -> None:
    named, other = make(tmp_path / "named"), make(tmp_path / "other")
    Agent.inside = (other, named)
    assert offered(tmp_path / "named", only=True)[0] == [named.get_base64()]
    assert offered(only=True)[0] == []


def test_a_public_half_is_enough_to_name_the_agents_key(tmp_path: Path) -> None:
    named, other = make(tmp_path / "named"), make(tmp_path / "other")
    (tmp_path / "named").unlink()
    Agent.inside = (other, named)
    for path in (tmp_path / "named.pub", tmp_path / "named"):
        assert offered(path, only=True)[0] == [named.get_base64()]


@pytest.mark.parametrize("agent", [None, "/gone", "/odd"])
def test_no_agent_is_no_error(tmp_path: Path, agent: str | None) -> None:
    file = make(tmp_path / "file")
    Agent.inside = (make(tmp_path / "inside"),)
    assert offered(tmp_path / "file", agent=agent)[0] == [file.get_base64()]


@pytest.mark.parametrize("public", [True, False])
def test_a_closed_file_is_noted(tmp_path: Path, *, public: bool) -> None:
    make(tmp_path / "closed", b"secret", public=public)
    order, keys = offered(tmp_path / "closed")
    assert order == []
    assert keys.locked == [tmp_path / "closed"]


def test_a_closed_file_that_the_agent_has_opened_is_not(tmp_path: Path) -> None:
    Agent.inside = (make(tmp_path / "closed", b"secret"),)
    order, keys = offered(tmp_path / "closed", only=True)
    assert order == [Agent.inside[0].get_base64()]
    assert keys.locked == []


@pytest.mark.parametrize("text", [b"", b"ssh-ed25519", b"ssh-ed25519 &&&&", b"\xff\xfe", b"-----BEGIN X-----\n\n"])
def test_a_file_that_is_no_key_is_passed_over(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "odd").write_bytes(text)
    good = make(tmp_path / "good")
    (tmp_path / "folder").mkdir()
    order, keys = offered(tmp_path / "odd", tmp_path / "none", tmp_path / "folder", tmp_path / "good")
    assert order == [good.get_base64()]
    assert keys.locked == []


def test_the_agent_is_let_go_once_a_key_fits(tmp_path: Path) -> None:
    Agent.inside = (make(tmp_path / "a"), make(tmp_path / "b"))
    where = Settings(alias="x", hostname="x", user="me", port=22, key_name="x", known_hosts=(), agent="/agent")
    sources = auth.Keys(where).get_sources()
    next(sources)
    assert Agent.closed == 0, "it has to sign first"
    del sources
    assert Agent.closed == 1
