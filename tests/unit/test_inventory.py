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


GPUS: dict[str, dict[str, Any]] = {"gpu2": {}, "gpu1": {"ansible_ssh_private_key_file": "~/.ssh/gpu"}, "zed": {}}
CLUSTER = {
    "_meta": {"hostvars": {name: GPUS[name] for name in sorted(GPUS)}},
    "all": {"children": ["ungrouped", "zoo", "labs"]},
    "labs": {"hosts": ["gpu2", "gpu1"]},
    "zoo": {"children": ["empty", "cage"]},
    "cage": {"hosts": ["zed"]},
}


class Ansible:
    """Stands for ansible-inventory: ``calls`` holds what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.whole: dict[str, Any] = _answer(local={"ansible_connection": "local", "ansible_password": "secret"})
        self.limits: dict[str, list[str] | str] = {}

    def __call__(self, _inventory: Path, *options: str) -> tuple[dict[str, Any] | None, str]:
        self.calls.append(options)
        if not options:
            return self.whole, ""
        found = self.limits[options[0].removeprefix("--limit=")]
        return (None, found) if isinstance(found, str) else (_answer(**{name: {} for name in found}), "")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Ansible:
    ansible = Ansible()
    monkeypatch.setattr(ansible_inventory, "_ask", ansible)
    return ansible


@pytest.fixture
def cluster(project: Path, asked: Ansible) -> Path:
    """An inventory of two groups, with gpu1 and gpu2 in `labs` and zed below `zoo`."""
    asked.whole = CLUSTER
    return project / "inventory.ini"


def test_a_local_hosts_lab_lies_below_the_project() -> None:
    found = inventory.parse(_answer(local={"ansible_connection": "local"}), PROJECT)
    assert found["local"].lab_dir == "/home/me/project/.labctl/local"
    assert found["local"].connection == "local"


@pytest.mark.parametrize(("written", "taken"), [("~/lab", "lab"), ("big/lab/", "big/lab"), ("/data/lab", "/data/lab")])
def test_a_remote_lab_dir_needs_no_shell(written: str, taken: str) -> None:
    assert inventory.parse(_answer(gpu1={"lab_dir": written}), PROJECT)["gpu1"].lab_dir == taken


@pytest.mark.parametrize("written", ["~other/lab", "~", "/", "~/"])
def test_a_remote_lab_dir_that_cannot_be(written: str) -> None:
    with pytest.raises(HostUnknownError, match="lab_dir"):
        inventory.parse(_answer(gpu1={"lab_dir": written}), PROJECT)


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


def test_an_unknown_host_names_those_that_exist(project: Path, asked: Ansible) -> None:
    with pytest.raises(HostUnknownError, match="it has: local"):
        inventory.resolve("gpu9", project / "inventory.ini")
    assert asked.calls


def test_ansible_is_asked_once_until_a_file_changes(project: Path, asked: Ansible) -> None:
    source = project / "inventory.ini"
    for _ in range(3):
        assert list(inventory.hosts(source)) == ["local"]
    assert len(asked.calls) == 1
    os.utime(source, ns=(1, 1))
    inventory.hosts(source)
    assert len(asked.calls) == 2
    (project / "host_vars").mkdir()
    (project / "host_vars" / "local.yml").write_text("a: 1\n", encoding="utf-8")
    inventory.hosts(source)
    assert len(asked.calls) == 3


def test_the_kept_answer_is_private(project: Path, asked: Ansible) -> None:
    inventory.hosts(project / "inventory.ini")
    (kept,) = (project / ".labctl" / "cache").glob("inventory-*.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert asked.calls


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", '{"key": 1}', '{"key": KEY, "answer": 7, "patterns": {}}', '{"key": KEY, "answer": {}}'],
)
def test_a_damaged_kept_answer_is_rebuilt(project: Path, asked: Ansible, damage: str) -> None:
    source = project / "inventory.ini"
    inventory.hosts(source)
    (kept,) = (project / ".labctl" / "cache").glob("inventory-*.json")
    key = json.loads(kept.read_text(encoding="utf-8"))["key"]
    kept.write_text(damage.replace("KEY", json.dumps(key)), encoding="utf-8")
    assert list(inventory.hosts(source)) == ["local"]
    assert len(asked.calls) == 2


def test_a_computed_inventory_is_asked_each_time(project: Path, asked: Ansible) -> None:
    source = project / "inventory.py"
    source.write_text("#!/bin/sh\n", encoding="utf-8")
    inventory.hosts(source)
    inventory.hosts(source)
    assert len(asked.calls) == 2


def test_a_project_that_cannot_be_written_costs_only_time(project: Path, asked: Ansible) -> None:
    (project / ".labctl").touch()
    assert list(inventory.hosts(project / "inventory.ini")) == ["local"]
    assert asked.calls


def test_the_reason_is_ansibles_own_error() -> None:
    said = "Failed to parse inventory: Expected key=value"
    noise = "[WARNING]: old\n[WARNING]: Failed to parse inventory with 'ini' plugin: "
    assert ansible_inventory.reason(f"{noise}{said}\n") == said
    assert ansible_inventory.reason("[ERROR]: YAML parsing failed: x\nmore\n") == "YAML parsing failed: x"
    assert ansible_inventory.reason("") == "ansible-inventory said nothing"


def test_hosts_stand_in_the_order_in_which_ansible_takes_them() -> None:
    assert ansible_inventory.names(CLUSTER) == ["gpu2", "gpu1", "zed"]


def test_the_older_spelling_wins_as_in_ansible() -> None:
    said = {"ansible_host": "a", "ansible_ssh_host": "b", "ansible_port": 1, "ansible_ssh_port": 2}
    host = inventory.parse(_answer(gpu1={**said, "ansible_user": "u", "ansible_ssh_user": 1000}), PROJECT)["gpu1"]
    assert (host.address, host.port, host.user) == ("b", 2, "1000")


def test_a_hosts_name_needs_no_question_and_a_pattern_one(cluster: Path, asked: Ansible) -> None:
    assert [host.name for host in inventory.select("zed", cluster)] == ["zed"]
    assert asked.calls == [()]
    asked.limits = {"z*,gpu2": ["zed", "gpu2"]}
    for _ in range(2):
        assert [host.name for host in inventory.select("z*,gpu2", cluster)] == ["gpu2", "zed"]
    assert asked.calls == [(), ("--limit=z*,gpu2",)]
    os.utime(cluster, ns=(1, 1))
    inventory.select("z*,gpu2", cluster)
    assert len(asked.calls) == 4


def test_the_newest_patterns_are_kept(cluster: Path, asked: Ansible, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ansible_inventory, "PATTERNS", 2)
    asked.limits = {pattern: ["zed"] for pattern in ("a*", "b*", "c*")}
    for pattern in ("a*", "b*", "c*", "b*", "c*"):
        inventory.select(pattern, cluster)
    assert len(asked.calls) == 4
    inventory.select("a*", cluster)
    assert len(asked.calls) == 5


def test_what_another_labctl_keeps_meanwhile_is_not_lost(
    cluster: Path, asked: Ansible, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.limits = {"a*": ["zed"], "b*": ["gpu2"]}

    def ask(path: Path, *options: str) -> tuple[dict[str, Any] | None, str]:
        if options == ("--limit=a*",):
            monkeypatch.setattr(ansible_inventory, "_ask", asked)
            inventory.select("b*", cluster)
        return asked(path, *options)

    monkeypatch.setattr(ansible_inventory, "_ask", ask)
    inventory.select("a*", cluster)
    calls = len(asked.calls)
    inventory.select("a*", cluster)
    inventory.select("b*", cluster)
    assert len(asked.calls) == calls


def test_a_pattern_that_reads_a_file_is_asked_each_time(cluster: Path, asked: Ansible) -> None:
    asked.limits = {"@hosts": ["zed"]}
    inventory.select("@hosts", cluster)
    inventory.select("@hosts", cluster)
    assert len(asked.calls) == 3


@pytest.mark.parametrize(
    ("pattern", "ansible_says", "message"),
    [
        (
            "gpu2,gpu9",
            "Could not match supplied host pattern, ignoring: gpu9",
            r"no host or group fits 'gpu9' \(in 'gpu2,gpu9'\)",
        ),
        ("gpu9", "Could not match supplied host pattern, ignoring: gpu9", "no host or group fits 'gpu9'; it has"),
        ("labs[7]", "No hosts matched the subscripted pattern 'labs[7]'", r"No hosts matched .*'labs\[7\]'; it has"),
        ("gpu2:&zoo", [], "no host fits 'gpu2:&zoo'; it has"),
        ("gpu2,localhost", None, r"no host or group fits 'localhost' \(in 'gpu2,localhost'\)"),
        ("::1", None, "no host or group fits '::1'; it has"),
        ("gpu2,empty", None, r"the group 'empty' is empty \(in 'gpu2,empty'\)"),
        ("", None, "an empty pattern names no host"),
        (" , ", None, "an empty pattern names no host"),
    ],
)
def test_a_part_that_takes_no_host_is_refused_by_name(
    cluster: Path, asked: Ansible, pattern: str, ansible_says: list[str] | str | None, message: str
) -> None:
    if ansible_says is not None:
        asked.limits[pattern] = ansible_says
    with pytest.raises(HostUnknownError, match=message) as error:
        inventory.select(pattern, cluster)
    assert "the hosts gpu2, gpu1, zed and the groups cage, labs, zoo" in str(error.value)
    assert error.value.next_command == "labctl hosts"


def test_a_long_list_of_hosts_is_cut(project: Path, asked: Ansible) -> None:
    asked.whole = _answer(**{f"gpu{number}": {} for number in range(25)})
    with pytest.raises(HostUnknownError, match="gpu19 and 5 more"):
        inventory.resolve("nosuch", project / "inventory.ini")


@pytest.mark.parametrize(
    ("variable", "value", "instead"),
    [
        ("ansible_ssh_private_key_file", "~/.ssh/gpu", "Host 203.0.113.7\n    IdentityFile ~/.ssh/gpu"),
        ("ansible_private_key_file", "/k", "IdentityFile /k"),
        ("ansible_ssh_common_args", "-J jump", r"as options, one a line: -J jump"),
        ("ansible_ssh_extra_args", "-v", "one a line: -v"),
        ("ansible_ssh_args", "-v", "one a line: -v"),
        ("ansible_password", "hunter2", "IdentityFile /path/to/key"),
        ("ansible_ssh_pass", "hunter2", "IdentityFile /path/to/key"),
        ("ansible_host_key_checking", False, "labctl hosts trust gpu1"),
        ("ansible_ssh_host_key_checking", "no", "labctl hosts trust gpu1"),
        ("ansible_ssh_executable", "/opt/ssh", "first on PATH"),
        ("ansible_control_path", "/run/x", "sockets of its own"),
        ("ansible_become", True, "sudo for system packages only"),
    ],
)
def test_options_of_ssh_live_in_ssh_config(
    project: Path, asked: Ansible, variable: str, value: object, instead: str
) -> None:
    source = project / "inventory.ini"
    asked.whole = _answer(
        gpu1={"ansible_host": "203.0.113.7", variable: value},
        gpu2={},
        local={"ansible_connection": "local", variable: value},
    )
    asked.limits = {"gpu*": ["gpu1", "gpu2"]}
    for give in (lambda: inventory.resolve("gpu1", source), lambda: inventory.select("gpu*", source)):
        with pytest.raises(HostUnknownError, match=f"host gpu1 of .*: {variable} must go") as error:
            give()
        assert instead in str(error.value)
        assert "hunter2" not in str(error.value)
    assert list(inventory.hosts(source)) == ["gpu1", "gpu2", "local"]
    assert inventory.resolve("gpu2", source).name == "gpu2"
    assert inventory.resolve("local", source).name == "local"


def test_what_ansible_and_labctl_both_follow_stays(project: Path, asked: Ansible) -> None:
    said = {"ansible_user": "me", "ansible_port": 22, "ansible_host": "203.0.113.7", "ansible_become_password": "x"}
    asked.whole = _answer(gpu1={**said, "ansible_ssh_common_args": ""})
    assert inventory.resolve("gpu1", project / "inventory.ini").user == "me"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ansible_host", "-oProxyCommand=touch /tmp/x"),
        ("ansible_host", "a b"),
        ("ansible_host", "a\x1b[2Jb"),
        ("ansible_user", "-l"),
        ("ansible_user", "{{ me }}"),
    ],
)
def test_an_address_that_ssh_would_take_for_an_option_is_refused(
    project: Path, asked: Ansible, variable: str, value: str
) -> None:
    asked.whole = _answer(gpu1={variable: value}, gpu2={})
    source = project / "inventory.ini"
    with pytest.raises(HostUnknownError, match="cannot be"):
        inventory.resolve("gpu1", source)
    assert inventory.resolve("gpu2", source)


def test_the_users_own_settings_for_ansibles_ssh_are_left_out(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
    monkeypatch.setenv("ANSIBLE_SSH_ARGS", "-v")
    monkeypatch.setenv("ANSIBLE_BECOME", "true")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", "vault")
    variables = ansible_inventory.environment(project / "inventory.ini")
    assert not {"ANSIBLE_HOST_KEY_CHECKING", "ANSIBLE_SSH_ARGS", "ANSIBLE_BECOME"} & set(variables)
    assert variables["ANSIBLE_VAULT_PASSWORD_FILE"] == "vault"  # noqa: S105 - a path
