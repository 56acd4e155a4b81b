"""What must hold on a provisioned host; facts, ledger and the lab's card decide which of it applies."""

from __future__ import annotations

import os
import shlex
from typing import Any

import pytest


def test_packages_of_the_ledger_are_installed(host: Any, ledger: list[list[str]]) -> None:
    wanted = [words[1] for words in ledger if words[0] == "package"]
    assert [name for name in wanted if not host.package(name).is_installed] == []


def test_files_of_the_ledger_are_there(host: Any, ledger: list[list[str]]) -> None:
    wanted = [words[1] for words in ledger if words[0] == "file"]
    assert [path for path in wanted if not host.file(path).exists] == []


def test_services_of_the_ledger_are_enabled(host: Any, ledger: list[list[str]]) -> None:
    wanted = [words[1] for words in ledger if words[0] == "service"]
    assert [name for name in wanted if not host.service(name).is_enabled] == []


def test_groups_of_the_ledger_have_their_users(host: Any, ledger: list[list[str]]) -> None:
    wanted = [words[1:] for words in ledger if words[0] == "group"]
    assert [(user, group) for user, group in wanted if group not in host.user(user).groups] == []


def test_holds_of_the_ledger_hold(host: Any, ledger: list[list[str]]) -> None:
    wanted = {words[1] for words in ledger if words[0] == "hold"}
    if not wanted:
        pytest.skip("nothing is held here")
    if host.exists("apt-mark"):
        held = set(host.check_output("apt-mark showhold").split())
        assert wanted - held == set()
    else:
        listed = host.check_output("dnf -q versionlock list")
        assert [name for name in wanted if name not in listed] == []


def test_the_driver_answers_for_every_gpu(host: Any, facts: dict[str, Any]) -> None:
    here = [row for row in facts["nvidia"]["pci"] or [] if row["kind"] == "gpu"]
    if not here and not facts["gpus"]:
        pytest.skip("no GPU here")
    assert facts["nvidia"]["cuinit"] == 0
    assert len(facts["gpus"]) >= len(here)
    assert len(host.check_output("nvidia-smi -L").splitlines()) >= len(here)


def test_the_fabric_manager_runs_where_it_is_needed(facts: dict[str, Any]) -> None:
    if not facts["nvidia"]["fabric"]["needed"]:
        pytest.skip("no NVSwitch here")
    assert facts["nvidia"]["fabric"]["manager"] == "active"


def test_docker_answers_and_will_after_a_reboot(host: Any, ledger: list[list[str]]) -> None:
    if not {"docker.io", "docker-ce"} & {words[-1] for words in ledger}:
        pytest.skip("we installed no Docker here")
    assert host.service("docker").is_enabled
    sudo = "" if host.user().name == "root" else "sudo -n "
    assert host.check_output(sudo + "docker info --format '{{.ServerVersion}}'")


def test_containers_can_have_the_gpus(host: Any, ledger: list[list[str]]) -> None:
    if ["package", "nvidia-container-toolkit"] not in ledger:
        pytest.skip("we installed no toolkit here")
    sudo = "" if host.user().name == "root" else "sudo -n "
    assert "nvidia" in host.check_output(sudo + "docker info --format '{{json .Runtimes}}'")
    assert host.file("/etc/cdi/nvidia.yaml").exists


def test_vllm_of_the_card_imports(host: Any, card: dict[str, Any]) -> None:
    if os.environ.get("LABCTL_SINGLE_ROLES"):
        pytest.skip("the role vllm was not applied here")
    said = host.check_output(f"{shlex.quote(card['python'])} -I -c 'import vllm; print(vllm.__version__)'")
    assert said.splitlines()[-1].startswith(card["vllm"])


def test_the_lab_program_answers(host: Any, card: dict[str, Any]) -> None:
    said = host.run(f"{shlex.quote(card['python'])} -I -m labctl.runner --help")
    assert "Traceback" not in said.stderr
    assert said.rc == 0


def test_nobody_else_looks_into_the_runs(host: Any, lab: str, card: dict[str, Any]) -> None:
    assert card["schema"] == 1
    folders = [host.file(f"{lab}/{name}") for name in ("runs", "models", "locks")]
    assert [(one.path, oct(one.mode)) for one in folders if one.mode & 0o077] == []


def test_ansible_leaves_nothing(host: Any) -> None:
    names = "-name 'ansible-tmp-*' -o -name 'ansible_*payload*' -o -name 'ansible-local-*'"
    left = host.check_output(f"find /tmp /var/tmp ~/.ansible -maxdepth 2 \\( {names} \\) 2>/dev/null || true")
    assert left.splitlines() == []
