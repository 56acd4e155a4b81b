from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from labctl import ansible_inventory, inventory
from labctl.errors import HostUnknownError

PROJECT = Path("/home/me/project")


def _answer(**hosts: dict[str, Any]) -> dict[str, Any]:
    return {
        "_meta": {"hostvars": hosts},
        "all": {"children": ["ungrouped"]},
        "ungrouped": {"hosts": list(hosts)},
    }


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project directory with an inventory, and no LABCTL_INVENTORY."""
    monkeypatch.delenv("LABCTL_INVENTORY", raising=False)
    (tmp_path / "inventory.ini").write_text("local ansible_connection=local\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Each time Ansible was asked."""
    calls: list[Path] = []

    def ask(path: Path) -> dict[str, Any]:
        calls.append(path)
        return _answer(local={"ansible_connection": "local", "ansible_password": "secret"})

    monkeypatch.setattr(ansible_inventory, "_ask", ask)
    return calls


def test_a_local_hosts_lab_lies_below_the_project() -> None:
    found = inventory.parse(_answer(local={"ansible_connection": "local"}), PROJECT)
    assert found["local"].lab_dir == "/home/me/project/.labctl/local"
    assert found["local"].connection == "local"


def test_an_absolute_lab_dir_stays() -> None:
    found = inventory.parse(_answer(local={"ansible_connection": "local", "lab_dir": "/data/lab"}), PROJECT)
    assert found["local"].lab_dir == "/data/lab"


def test_a_remote_host_has_its_own_defaults() -> None:
    host = inventory.parse(_answer(gpu1={}), PROJECT)["gpu1"]
    assert (host.connection, host.address, host.lab_dir, host.user, host.port) == (
        "ssh",
        "gpu1",
        "labctl",
        None,
        None,
    )


def test_a_remote_host_says_everything_itself() -> None:
    said = {"ansible_host": "203.0.113.7", "ansible_user": "me", "ansible_port": 2222, "lab_dir": "big/lab"}
    host = inventory.parse(_answer(gpu1=said), PROJECT)["gpu1"]
    assert (host.address, host.user, host.port, host.lab_dir) == ("203.0.113.7", "me", 2222, "big/lab")


def test_a_host_in_two_groups_is_one_host_and_hosts_keep_their_order() -> None:
    answer = {**_answer(b={}, a={}), "labs": {"hosts": ["a", "b"]}}
    assert list(inventory.parse(answer, PROJECT)) == ["b", "a"]


def test_variables_stay_out_of_the_repr() -> None:
    host = inventory.parse(_answer(gpu1={"ansible_password": "hunter2"}), PROJECT)["gpu1"]
    assert host.vars["ansible_password"] == "hunter2"  # noqa: S105 - made up
    assert "hunter2" not in repr(host)


@pytest.mark.parametrize("bad", [{"ansible_port": "ssh"}, {"lab_dir": "{{ disk }}/lab"}])
def test_a_value_that_no_host_can_have_is_named(bad: dict[str, Any]) -> None:
    with pytest.raises(HostUnknownError, match=next(iter(bad))):
        inventory.parse(_answer(gpu1=bad), PROJECT)


def test_find_looks_upwards(project: Path) -> None:
    below = project / "a" / "b"
    below.mkdir(parents=True)
    assert inventory.find(below) == project / "inventory.ini"


def test_find_takes_the_variable_first(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.ini"
    other.touch()
    monkeypatch.setenv("LABCTL_INVENTORY", str(other))
    assert inventory.find(project) == other
    monkeypatch.setenv("LABCTL_INVENTORY", str(tmp_path / "gone.ini"))
    with pytest.raises(HostUnknownError, match=r"gone\.ini"):
        inventory.find(project)


def test_no_inventory_gives_the_command_that_makes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABCTL_INVENTORY", raising=False)
    with pytest.raises(HostUnknownError) as error:
        inventory.find(tmp_path)
    assert "inventory.ini" in error.value.next_command


def test_an_unknown_host_names_those_that_exist(project: Path, asked: list[Path]) -> None:
    with pytest.raises(HostUnknownError, match="it has: local"):
        inventory.resolve("gpu9", project / "inventory.ini")
    assert asked


def test_ansible_is_asked_once_until_a_file_changes(project: Path, asked: list[Path]) -> None:
    source = project / "inventory.ini"
    for _ in range(3):
        assert list(inventory.hosts(source)) == ["local"]
    assert len(asked) == 1
    os.utime(source, ns=(1, 1))
    inventory.hosts(source)
    assert len(asked) == 2
    (project / "host_vars").mkdir()
    (project / "host_vars" / "local.yml").write_text("a: 1\n", encoding="utf-8")
    inventory.hosts(source)
    assert len(asked) == 3


def test_the_kept_answer_is_private(project: Path, asked: list[Path]) -> None:
    inventory.hosts(project / "inventory.ini")
    (kept,) = (project / ".labctl" / "cache").glob("inventory-*.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert asked


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": 1}', '{"key": KEY, "answer": 7}'])
def test_a_damaged_kept_answer_is_rebuilt(project: Path, asked: list[Path], damage: str) -> None:
    source = project / "inventory.ini"
    inventory.hosts(source)
    (kept,) = (project / ".labctl" / "cache").glob("inventory-*.json")
    key = json.loads(kept.read_text(encoding="utf-8"))["key"]
    kept.write_text(damage.replace("KEY", json.dumps(key)), encoding="utf-8")
    assert list(inventory.hosts(source)) == ["local"]
    assert len(asked) == 2


def test_a_computed_inventory_is_asked_each_time(project: Path, asked: list[Path]) -> None:
    source = project / "inventory.py"
    source.write_text("#!/bin/sh\n", encoding="utf-8")
    inventory.hosts(source)
    inventory.hosts(source)
    assert len(asked) == 2


def test_a_project_that_cannot_be_written_costs_only_time(project: Path, asked: list[Path]) -> None:
    (project / ".labctl").touch()
    assert list(inventory.hosts(project / "inventory.ini")) == ["local"]
    assert asked


def test_the_reason_is_ansibles_own_error() -> None:
    said = "Failed to parse inventory: Expected key=value"
    noise = "[WARNING]: old\n[WARNING]: Failed to parse inventory with 'ini' plugin: "
    assert ansible_inventory.reason(f"{noise}{said}\n") == said
    assert ansible_inventory.reason("[ERROR]: YAML parsing failed: x\nmore\n") == "YAML parsing failed: x"
    assert ansible_inventory.reason("") == "ansible-inventory said nothing"
