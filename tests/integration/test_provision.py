"""The playbook without the heavy part (the real environment is built in tests/e2e)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from labctl import ansible_inventory, assets, inventory, provision
from labctl.errors import ProvisionError

HERE = {
    "dir": "/nonexistent/lab",
    "system": "Linux",
    "machine": "x86_64",
    "missing": [],
    "package_manager": "apt-get",
    "may_install": False,
    "sudo": False,
}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = tmp_path / "inventory.ini"
    made.write_text("local ansible_connection=local\n", encoding="utf-8")
    return made


def _provision(
    source: Path,
    lines: list[str],
    *,
    check: bool = True,
    tags: tuple[str, ...] = (),
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    host = inventory.resolve("local", source)
    logs = source.parent / "logs"
    return provision.provision(
        host, check=check, tags=tags, extra=extra, log_dir=logs, echo=lines.append, source=source
    )


def test_check_on_a_bare_host_changes_nothing_and_says_what_it_would(source: Path) -> None:
    lines: list[str] = []
    recap = _provision(source, lines)
    assert recap["failed"] == 0
    assert recap["changed"] > 0
    assert recap["seconds"] > 0
    assert "  changed  lab_runner : Write the lab's card" in lines
    assert not (source.parent / ".labctl" / "local").exists()
    assert not (source.parent / "home").exists(), "Ansible wrote into the home directory"


def test_tags_limit_the_roles_and_the_log_holds_all_in_private(source: Path) -> None:
    lines: list[str] = []
    _provision(source, lines, tags=("lab_runner",))
    assert {line.split()[1] for line in lines} == {"preflight", "lab_runner"}
    log = source.parent / "logs" / "provision-local.log"
    assert log.stat().st_mode & 0o777 == 0o600
    assert "PLAY RECAP" in log.read_text(encoding="utf-8")


def test_too_little_room_is_one_sentence(source: Path) -> None:
    with pytest.raises(ProvisionError, match=r"Only [\d.]+ GiB are free at .*set lab_dir to a folder") as error:
        _provision(source, [], check=False, extra={"preflight_free_gib": 10**6})
    assert "provision-local.log" in str(error.value)
    assert "preflight : Need room" in str(error.value)


def test_a_version_without_a_lock_names_those_there_are(source: Path) -> None:
    with pytest.raises(ProvisionError, match=r"no lock for vLLM 0\.1\.0.*vllm-0\.32\.0-cpu\.txt"):
        _provision(source, [], extra={"vllm_version": "0.1.0"}, tags=("vllm",))


def test_ansible_that_cannot_start_says_why(source: Path) -> None:
    host = inventory.resolve("local", source)
    (source.parent / "host_vars").mkdir()
    (source.parent / "host_vars" / "local.yml").write_text("{a: [", encoding="utf-8")
    with pytest.raises(ProvisionError, match=r"Ansible stopped before its end; it said: .*YAML"):
        provision.provision(host, log_dir=source.parent / "logs", echo=print, source=source)


def _system_packages(source: Path, found: dict[str, Any], *options: str) -> str:
    """Run the role alone on a host where exactly this was found; give Ansible's exit status and output."""
    play = {
        "hosts": "local",
        "gather_facts": False,
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "preflight_lab_dir": str(source.parent / "lab"),
            "preflight_python": "3.11",
        },
        "pre_tasks": [
            {"name": "Pretend", "ansible.builtin.set_fact": {"labctl": {**HERE, **found}, "cacheable": True}}
        ],
        "roles": [str(assets.folder("ansible") / "roles" / "system_packages")],
    }
    book = source.parent / "play.json"
    book.write_text(json.dumps([play]), encoding="utf-8")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, *ansible_inventory.sources(source), *options, str(book)]
    variables = ansible_inventory.environment(source)
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)
    return f"exit {done.returncode}\n{done.stdout}{done.stderr}"


def test_without_libnuma_and_root_one_message_names_everything(source: Path) -> None:
    said = _system_packages(source, {"missing": ["libnuma", "compiler", "headers"]})
    assert not said.startswith("exit 0")
    assert "libnuma.so.1" in said
    assert "Python.h of Python 3.11" in said
    assert "apt-get install libnuma1 g++ python3.11-dev" in said


def test_without_a_compiler_vllm_falls_back_to_eager(source: Path) -> None:
    said = _system_packages(source, {"missing": ["compiler"], "package_manager": "dnf"})
    assert said.startswith("exit 0"), said
    assert "eager mode" in said
    assert "dnf install gcc-c++" in said


def test_an_unknown_package_manager_still_gets_names(source: Path) -> None:
    said = _system_packages(source, {"missing": ["libnuma"], "package_manager": None})
    assert not said.startswith("exit 0")
    assert "(with this system's package manager) libnuma1" in said


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("apt-get"),
    reason="needs root and apt, even to say what it would do",
)
def test_where_it_is_allowed_the_packages_are_installed_and_listed(source: Path) -> None:
    said = _system_packages(source, {"missing": ["libnuma", "compiler"], "may_install": True}, "--check")
    assert "Install from the system's packages: libnuma1, g++" in said
    assert said.startswith("exit 0"), said
