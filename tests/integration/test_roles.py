"""Roles alone, on a host where exactly the given was found."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from labctl import assets
from labctl.provision import ends, events
from tests.integration import roles

if TYPE_CHECKING:
    from pathlib import Path

ANSIBLE = assets.folder("ansible")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = tmp_path / "inventory.ini"
    made.write_text("local ansible_connection=local\n", encoding="utf-8")
    return made


def _system_packages(source: Path, found: dict[str, Any], *options: str) -> str:
    """Run the role alone on a host whose plan says this; give Ansible's exit status and output."""
    return roles.play(source, ["system_packages"], found, *options)


def test_without_libnuma_and_root_one_message_names_everything(source: Path) -> None:
    said = _system_packages(source, {"missing": ["libnuma", "compiler", "headers"]})
    assert not said.startswith("exit 0")
    assert "libnuma.so.1" in said
    assert "Python.h of Python 3.11" in said
    assert "apt-get install libnuma1 g++ python3.11-dev" in said


def test_without_a_compiler_vllm_falls_back_to_eager(source: Path) -> None:
    said = _system_packages(source, {"missing": ["compiler"], "manager": "dnf"})
    assert said.startswith("exit 0"), said
    assert "eager mode" in said
    assert "dnf install gcc-c++" in said


def test_an_unknown_package_manager_still_gets_names(source: Path) -> None:
    said = _system_packages(source, {"missing": ["libnuma"], "manager": None})
    assert not said.startswith("exit 0")
    assert "(with this system's package manager) libnuma1" in said


def test_a_check_names_the_packages_that_it_would_install(source: Path) -> None:
    said = _system_packages(source, {"missing": ["libnuma", "compiler"], "may_install": True}, "--check")
    assert "Install from the system's packages: libnuma1, g++" in said
    assert said.startswith("exit 0"), said


SUDO = {"missing": ["compiler"], "sudo_password": True}


@pytest.mark.parametrize("missing", ["compiler", "libnuma"])
def test_where_sudo_wants_a_password_the_role_stops_before_anything_was_tried(source: Path, missing: str) -> None:
    said = _system_packages(source, {**SUDO, "missing": [missing]})
    assert not said.startswith("exit 0")
    assert events.NEED_PASSWORD.split(" : ")[1] in said
    assert "give it with --ask-become-pass" in said
    assert "Try the sudo password" not in said
    assert "Install from" not in said


def test_without_an_answer_vllm_falls_back_to_eager(source: Path) -> None:
    said = _system_packages(source, SUDO, "--extra-vars", "system_packages_go_without=true")
    assert said.startswith("exit 0"), said
    assert "apt-get install g++ (or give the sudo password: --ask-become-pass)" in " ".join(said.split())


def test_without_an_answer_what_vllm_needs_is_still_needed(source: Path) -> None:
    said = _system_packages(source, {**SUDO, "missing": ["libnuma"]}, "--extra-vars", "system_packages_go_without=true")
    assert not said.startswith("exit 0")
    assert "apt-get install libnuma1" in said


def test_a_check_says_that_a_password_would_be_needed(source: Path) -> None:
    said = _system_packages(source, SUDO, "--check")
    assert said.startswith("exit 0"), said
    assert "this would take sudo's password: apt-get install g++" in said


@pytest.mark.parametrize("variable", ["ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"])
def test_a_password_of_the_inventory_is_tried_and_a_wrong_one_told(
    source: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    _sudo_that_says("sudo: 1 incorrect password attempt", source, monkeypatch)
    # Root needs no sudo to become root, so these tests, run by root, become another user.
    values = f"{variable}=wrong ansible_become_user=daemon system_packages_go_without=true"
    said = _system_packages(source, SUDO, "--extra-vars", values)
    assert not said.startswith("exit 0")
    assert ends.TRY_PASSWORD.split(" : ")[1] in said
    assert "incorrect password attempt" in said
    assert "Install from the system's packages" not in said


def _sudo_that_says(words: str, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a `sudo` first on PATH that refuses with these words, and never reads a password."""
    folder = source.parent / "bin"
    folder.mkdir(exist_ok=True)
    program = folder / "sudo"
    program.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_what_holds_dpkgs_lock_is_named_without_taking_it(tmp_path: Path) -> None:
    script = ANSIBLE / "roles" / "system_packages" / "files" / "lock_holder.py"
    lock = tmp_path / "lock-frontend"
    lock.touch()

    def ask() -> str:
        command = [sys.executable, str(script), str(lock)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    assert ask() == ""
    with lock.open("r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert re.fullmatch(rf"\S+ \(pid {os.getpid()}\)\n", ask())
    assert ask() == ""


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"vllm_without": {"a": 1}}, "vllm_without"),
        ({"vllm_variant": "gpu"}, "value of vllm_variant must be one of: auto, cpu, cuda, got: gpu"),
        ({"python_env_mode": "pipx"}, "value of python_env_mode must be one of: auto, uv, venv, conda, existing"),
        ({"preflight_free_gib": "much"}, "preflight_free_gib"),
    ],
)
def test_a_variable_of_the_wrong_type_is_refused_by_name(source: Path, variables: dict[str, object], said: str) -> None:
    found = roles.play(source, ["preflight"], {}, **variables)
    assert not found.startswith("exit 0")
    assert said in found
    assert "Traceback" not in found


def test_a_wish_that_cannot_be_is_the_plans_own_sentence(source: Path) -> None:
    found = roles.play(source, ["preflight"], {}, vllm_version="0.1.0")
    assert not found.startswith("exit 0")
    assert "There is no lock for vLLM 0.1.0, variant cpu; there are: " in found


@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_the_specs_for_conda_solve(tmp_path: Path, python: str) -> None:
    channel = _channel(tmp_path / "channel", ["3.10.14", "3.11.9", "3.12.4", "3.13.0"])
    defaults = yaml.safe_load((ANSIBLE / "roles" / "python_env" / "defaults" / "main.yml").read_text())
    specs = [
        spec.replace("{{ ansible_facts.labctl_plan.python }}", python) for spec in defaults["python_env_conda_specs"]
    ]
    assert not [spec for spec in specs if "{{" in spec]
    assert [version[: len(python)] for version in _solve(specs, channel)] == [python]


def _channel(folder: Path, pythons: list[str]) -> str:
    """A conda channel of files: packages by name and version alone, which is what a solver reads."""
    rows = {
        f"python-{version}-0.conda": {
            "name": "python",
            "version": version,
            "build": "0",
            "build_number": 0,
            "depends": [],
            "subdir": "linux-64",
            "md5": "0" * 32,
            "sha256": "0" * 64,
            "size": 1,
        }
        for version in pythons
    }
    for name, packages in (("linux-64", rows), ("noarch", {})):
        (folder / name).mkdir(parents=True)
        index = {"info": {"subdir": name}, "packages": {}, "packages.conda": packages, "repodata_version": 1}
        (folder / name / "repodata.json").write_text(json.dumps(index), encoding="utf-8")
    return folder.as_uri()


def _solve(specs: list[str], channel: str) -> list[str]:
    """Versions of what the solver that conda's own tools share puts into the environment."""
    import rattler

    async def ask() -> list[Any]:
        wanted: list[Any] = [rattler.MatchSpec(spec) for spec in specs]
        found = await rattler.solve([rattler.Channel(channel)], wanted, platforms=["linux-64", "noarch"])
        return list(found)

    return [str(record.version) for record in asyncio.run(ask())]


def test_the_ledger_keeps_what_was_written_and_adds_to_it(source: Path) -> None:
    items = ["package libnuma1", "group me docker"]
    first = roles.play(source, ["ledger"], {}, ledger_role="x", ledger_items=items)
    assert first.startswith("exit 0"), first
    again = roles.play(source, ["ledger"], {}, ledger_role="x", ledger_items=["package libnuma1", "file /etc/x"])
    assert again.startswith("exit 0"), again
    written = source.parent / "lab" / "placed" / "x.txt"
    assert written.read_text().splitlines() == [*items, "file /etc/x"]
    assert roles.changed(roles.play(source, ["ledger"], {}, ledger_role="x", ledger_items=items)) == 0


def test_the_ledger_takes_only_what_reset_understands(source: Path) -> None:
    said = roles.play(source, ["ledger"], {}, ledger_role="x", ledger_items=["package a b"])
    assert "takes no such lines: package a b" in said


def test_a_lab_in_the_home_directory_itself_is_refused(source: Path) -> None:
    said = roles.play(source, ["preflight"], {}, preflight_lab_dir=".")
    assert not said.startswith("exit 0")
    assert "set lab_dir to a folder of its own" in said


@pytest.mark.parametrize("kind", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_a_tethered_command_ends_with_its_wrapper(tmp_path: Path, kind: signal.Signals) -> None:
    script = ANSIBLE / "roles" / "python_env" / "files" / "tethered.py"
    # The pipe closes when the last process that holds it is gone.
    command = [sys.executable, "-I", str(script), str(tmp_path / "lock"), "sh", "-c", "echo on; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrapper:
        assert wrapper.stdout
        assert wrapper.stdout.readline() == "on\n"
        began = time.monotonic()
        wrapper.send_signal(kind)
        assert wrapper.stdout.read() == ""
    assert time.monotonic() - began < 20
    assert wrapper.returncode == (-9 if kind == signal.SIGKILL else 143)


def test_only_what_our_own_call_set_up_is_written_down(source: Path) -> None:
    answer = "Setting up libnuma1:amd64 (2.0.16-1) ...\nSetting up tzdata (1) ...\n"
    told = {
        "system_packages_before": {"stdout_lines": ["ii tzdata"]},
        "system_packages_after": {"stdout_lines": ["ii tzdata", "ii libnuma1", "ii theirs"]},
        "system_packages_installed": {"stdout": answer},
        "system_packages_transaction": {"results": ["Installed: theirs-too-1.0-2.el9.x86_64"]},
    }
    path = source.parent / "ask.json"
    variables = str(ANSIBLE / "roles" / "system_packages" / "vars" / "main.yml")
    said = {"ansible.builtin.debug": {"msg": "ours {{ system_packages_new | intersect(system_packages_said) }}"}}
    book = [{"hosts": "local", "gather_facts": False, "vars_files": [variables], "vars": told, "tasks": [said]}]
    path.write_text(json.dumps(book), encoding="utf-8")
    found = roles.run(source, path)
    assert "ours ['libnuma1']" in found, found
