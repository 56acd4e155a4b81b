"""Writing known_hosts; looking up is tested with OpenSSH's own programs in tests/hosts/test_keys.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from paramiko.hostkeys import HostKeyEntry, HostKeys

from labctl.errors import HostKeyError
from labctl.sessions.ssh import host_keys
from labctl.sessions.ssh.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from paramiko import PKey

KIND = "ssh-ed25519"
KEYS = (
    "AAAAC3NzaC1lZDI1NTE5AAAAIDFt9o6Zc3b4bYFh9W3mE0jzjyU7hRk1p0Pq0vVXkq3P",
    "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
)


def key(number: int = 0) -> PKey:
    entry = HostKeyEntry.from_line(f"x {KIND} {KEYS[number]}")
    assert entry is not None
    return entry.key


def where(path: Path | None, *, hashed: bool = False, port: int = 22) -> Settings:
    return Settings(
        alias="gpu1",
        hostname="10.0.0.1",
        user="root",
        port=port,
        key_name="10.0.0.1" if port == 22 else f"[10.0.0.1]:{port}",
        known_hosts=(path,) if path else (),
        user_known_hosts=path,
        hash_known_hosts=hashed,
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, ""),
        ("", ""),
        ("other ssh-rsa AAAA\n", "other ssh-rsa AAAA\n"),
        ("other ssh-rsa AAAA", "other ssh-rsa AAAA\n"),
        ("# ends with a blank line\n\n", "# ends with a blank line\n\n"),
        ("ends with a return\r\n", "ends with a return\r\n"),
    ],
)
def test_a_line_of_its_own(tmp_path: Path, before: str | None, after: str) -> None:
    path = tmp_path / "known_hosts"
    if before is not None:
        path.write_bytes(before.encode())
    assert host_keys.remember(where(path), key()) == path
    assert path.read_bytes().decode() == f"{after}10.0.0.1 {KIND} {KEYS[0]}\n"
    host_keys.remember(where(path, port=2222), key(1))
    assert path.read_text().splitlines()[-1] == f"[10.0.0.1]:2222 {KIND} {KEYS[1]}"


def test_a_new_file_is_the_users_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        path = host_keys.remember(where(tmp_path / "ssh" / "known_hosts"), key())
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_mode_of_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.touch()
    path.chmod(0o644)
    host_keys.remember(where(path), key())
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_hashed_name_is_found_again_and_cannot_be_read(tmp_path: Path) -> None:
    path = host_keys.remember(where(tmp_path / "known_hosts", hashed=True), key())
    assert path.read_text().startswith("|1|")
    assert "10.0.0.1" not in path.read_text()
    assert HostKeys(str(path)).check("10.0.0.1", key())


def test_where_nothing_can_be_kept(tmp_path: Path) -> None:
    with pytest.raises(HostKeyError, match="UserKnownHostsFile none"):
        host_keys.remember(where(None), key())
    with pytest.raises(HostKeyError, match=str(tmp_path)):
        host_keys.remember(where(tmp_path), key())


def test_what_the_errors_say(tmp_path: Path) -> None:
    place = where(tmp_path / "known_hosts", port=2222)
    unknown = host_keys.UnknownHostKeyError(place, key(), "gpu7")
    assert key().fingerprint in str(unknown)
    assert unknown.next_command == "labctl hosts trust gpu7"
    said = str(host_keys.changed(place, key(), key(1)))
    assert "CHANGED" in said
    assert said.index(key().fingerprint) < said.index(key(1).fingerprint)
    assert "ssh-keygen -R '[10.0.0.1]:2222'" in said
    assert unknown.exit_code == 5
