"""The playbook without the heavy part (the real environment is built in tests/e2e)."""

from __future__ import annotations

import getpass
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from labctl import ansible_inventory, assets, inventory, provision, provision_events
from labctl.commands import provision as verb
from labctl.errors import HostKeyError, LabError, ProvisionError, UnreachableError
from labctl.provision_events import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = {
    "dir": "/nonexistent/lab",
    "system": "Linux",
    "machine": "x86_64",
    "missing": [],
    "package_manager": "apt-get",
    "may_install": False,
    "sudo": False,
    "sudo_password": False,
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


def test_a_check_names_the_packages_that_it_would_install(source: Path) -> None:
    said = _system_packages(source, {"missing": ["libnuma", "compiler"], "may_install": True}, "--check")
    assert "Install from the system's packages: libnuma1, g++" in said
    assert said.startswith("exit 0"), said


SUDO = {"missing": ["compiler"], "sudo_password": True}


@pytest.mark.parametrize("missing", ["compiler", "libnuma"])
def test_where_sudo_wants_a_password_the_role_stops_before_anything_was_tried(source: Path, missing: str) -> None:
    said = _system_packages(source, {**SUDO, "missing": [missing]})
    assert not said.startswith("exit 0")
    assert provision_events.NEED_PASSWORD.split(" : ")[1] in said
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
    assert provision.TRY_PASSWORD.split(" : ")[1] in said
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


@pytest.mark.parametrize(
    ("words", "asks"),
    [
        ("sudo: a password is required", True),
        ("sudo: interactive authentication is required", True),
        ('sudo: The "no new privileges" flag is set', False),
        ("sudo: sorry, you must have a tty to run sudo", False),
    ],
)
def test_sudo_is_looked_at_only_where_something_is_missing(
    source: Path, monkeypatch: pytest.MonkeyPatch, words: str, *, asks: bool
) -> None:
    _sudo_that_says(words, source, monkeypatch)
    lab_facts = _lab_facts()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(lab_facts.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert lab_facts.installer(["compiler"]) == {
        "package_manager": "apt-get",
        "may_install": False,
        "sudo": False,
        "sudo_password": asks,
    }
    assert lab_facts.installer([])["sudo_password"] is False


def _lab_facts() -> Any:
    path = assets.folder("ansible") / "roles" / "preflight" / "library" / "lab_facts.py"
    spec = importlib.util.spec_from_file_location("lab_facts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_password_travels_in_a_private_file_and_nowhere_else(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, Any, list[str]]] = []

    def run(command: list[str], variables: dict[str, str], _log: Path, _echo: object) -> Progress:
        path = Path(next(word for word in command if word.startswith("@"))[1:])
        seen.append((path.stat().st_mode & 0o777, json.loads(path.read_bytes()), [*command, *variables.values()]))
        progress = Progress(print)
        progress.recap = {"ok": 1, "changed": 0, "failed": 0, "skipped": 0}
        return progress

    monkeypatch.setattr(provision, "_run", run)
    host = inventory.resolve("local", source)
    secret = 's3 {{ x }}"\\ü'  # noqa: S105 - made up
    provision.provision(host, become_password=secret, log_dir=source.parent / "logs", echo=print, source=source)
    ((mode, values, words),) = seen
    assert mode == 0o600
    assert values["ansible_become_password"] == {"__ansible_unsafe": secret}
    assert not [word for word in words if secret in word]


def _remote(source: Path, said: str, monkeypatch: pytest.MonkeyPatch) -> LabError:
    """The error for a host whose ssh says this and gives up."""
    folder = source.parent / "bin"
    folder.mkdir()
    program = folder / "ssh"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\nexit 255\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    source.write_text("gpu1 ansible_host=203.0.113.7\n", encoding="utf-8")
    with pytest.raises(LabError) as error:
        provision.provision(
            inventory.resolve("gpu1", source), log_dir=source.parent / "logs", echo=print, source=source
        )
    return error.value


@pytest.mark.parametrize(
    ("said", "kind", "cure"),
    [
        ("ssh: connect to host 203.0.113.7 port 22: Connection refused", UnreachableError, "labctl doctor --host gpu1"),
        ("me@203.0.113.7: Permission denied (publickey).", UnreachableError, "labctl doctor --host gpu1"),
        ("Host key verification failed.", HostKeyError, "labctl hosts trust gpu1"),
        ("Host key for x has changed and you have requested strict checking.", HostKeyError, ""),
    ],
)
def test_what_ssh_says_of_a_host_is_the_error(
    source: Path, monkeypatch: pytest.MonkeyPatch, said: str, kind: type[LabError], cure: str
) -> None:
    error = _remote(source, f"Welcome, all is logged\n{said}", monkeypatch)
    assert type(error) is kind
    assert str(error).endswith(said.rstrip(":"))
    assert error.next_command == cure
    assert not (source.parent / "home").exists(), "Ansible wrote into the home directory"


def test_ansibles_ssh_is_the_users_own_but_for_where_it_keeps_its_sockets(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(source.parent))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
    _remote(source, "no", monkeypatch)
    program = source.parent / "bin" / "ssh"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >&2\nexit 255\n', encoding="utf-8")
    with pytest.raises(UnreachableError):
        provision.provision(
            inventory.resolve("gpu1", source), log_dir=source.parent / "logs", echo=print, source=source
        )
    log = (source.parent / "logs" / "provision-gpu1.log").read_text(encoding="utf-8")
    assert "BatchMode=yes" in log
    assert "StrictHostKeyChecking" not in log
    assert "User=" not in log
    socket = re.search(r'ControlPath=\W*([^"\\]+)', log)
    assert socket is not None
    assert len(socket[1]) < 60
    assert not Path(socket[1]).parent.parent.exists()


class Recorded:
    """Stands for ``provision.provision``: what each host was given, and what becomes of it."""

    def __init__(self, ends: dict[str, list[LabError | None]]) -> None:
        self.ends = ends
        self.given: list[tuple[str, str | None]] = []
        self.prompts: list[str] = []

    def __call__(
        self, host: inventory.Host, *, become_password: str | None, echo: Callable[[str], None], **_: object
    ) -> dict[str, Any]:
        self.given.append((host.name, become_password))
        echo("  ok       a task\x1b]0;title\x07")
        error = self.ends[host.name].pop(0)
        if error:
            raise error
        return {"ok": 3, "changed": 1, "failed": 0, "skipped": 0, "seconds": 2.0}


@pytest.fixture
def three(source: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    source.write_text("[labs]\na ansible_user=me\nb ansible_user=you\nc\n", encoding="utf-8")
    monkeypatch.setenv("LABCTL_INVENTORY", str(source))
    return source


def _verb(recorded: Recorded, monkeypatch: pytest.MonkeyPatch, answers: list[str] | None, **options: Any) -> int:
    """Give the exit code of `labctl provision labs`; at a terminal if there are answers."""
    prompts: list[str] = []

    def answer(prompt: str) -> str:
        assert answers
        prompts.append(prompt)
        return answers.pop(0)

    monkeypatch.setattr(provision, "provision", recorded)
    monkeypatch.setattr(getpass, "getpass", answer)
    monkeypatch.setattr(sys, "stdin", io.StringIO("typed\n"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: answers is not None)
    try:
        verb.provision("labs", **options)
    except typer.Exit as error:
        return error.exit_code
    finally:
        recorded.prompts = prompts
    return 0


@pytest.mark.usefixtures("three")
def test_one_hosts_failure_is_that_hosts_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = Recorded({"a": [UnreachableError("a is gone")], "b": [None], "c": [ProvisionError("c broke", "cure")]})
    assert _verb(recorded, monkeypatch, None) == ProvisionError.exit_code
    out, err = capsys.readouterr()
    assert out == "b: 3 tasks ok, 1 changed, in 2.0 s\n"
    assert "a is gone" in err
    assert "c broke\n  next: cure" in err
    assert "b  ok       a task\n" in err
    assert sorted(recorded.given) == [("a", ""), ("b", ""), ("c", "")], "without a terminal nobody can be asked"


@pytest.mark.usefixtures("three")
def test_a_sudo_password_is_asked_for_once_and_only_for_those_who_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    need = provision.SudoPasswordNeeded("lacks g++")
    recorded = Recorded({"a": [need, None], "b": [need, None], "c": [None]})
    assert _verb(recorded, monkeypatch, ["secret"]) == 0
    assert recorded.prompts == ["sudo password for me@a, you@b: "]
    assert sorted(recorded.given[:3]) == [("a", None), ("b", None), ("c", None)]
    assert sorted(recorded.given[3:]) == [("a", "secret"), ("b", "secret")]


@pytest.mark.usefixtures("three")
def test_nobody_is_asked_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    need = provision.SudoPasswordNeeded("lacks libnuma")
    recorded = Recorded({"a": [need, need], "b": [None], "c": [None]})
    assert _verb(recorded, monkeypatch, [""]) == ProvisionError.exit_code
    assert recorded.prompts == ["sudo password for me@a: "]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(("answers", "given"), [(["secret"], "secret"), (None, "typed")])
def test_a_password_may_be_given_first(monkeypatch: pytest.MonkeyPatch, answers: list[str] | None, given: str) -> None:
    recorded = Recorded({"a": [None], "b": [None], "c": [None]})
    assert _verb(recorded, monkeypatch, answers, ask_become_pass=True) == 0
    assert sorted(recorded.given) == [("a", given), ("b", given), ("c", given)]
