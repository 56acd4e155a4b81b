"""The labctl program itself, without a host: help, exit codes, one readable message each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from labctl.cli import app

LABCTL = str(Path(sys.executable).with_name("labctl"))
VERBS = (
    "labs",
    "hosts",
    "doctor",
    "provision",
    "bundle",
    "import",
    "run",
    "attach",
    "logs",
    "stop",
    "fetch",
    "runs",
    "show",
    "verify",
    "up",
    "ps",
    "ask",
    "tunnel",
    "down",
    "params",
    "studies",
    "study",
    "report",
)


def labctl(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "LABCTL_INVENTORY"}
    return subprocess.run(
        [LABCTL, *words], capture_output=True, text=True, timeout=60, cwd=cwd, env={**clean, **env}, check=False
    )


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "inventory.ini").write_text("local ansible_connection=local\nwin ansible_connection=winrm\n")
    return tmp_path


def test_every_verb_is_there() -> None:
    commands = {one.name or one.callback.__name__ for one in app.registered_commands if one.callback}
    assert commands | {group.name for group in app.registered_groups} == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb: str, here: Path) -> None:
    done = labctl(verb, "--help", cwd=here)
    assert done.returncode == 0
    assert re.search(rf"Example: labctl {verb}\b", done.stdout)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run", "ofline"), 2, "nearest: offline"),
        (("run", "offline", "--engine", "max_modle_len=5"), 2, "max_model_len"),
        (("run", "offline", "--sampling", "max_tokens=-1"), 2, "at least 1"),
        (("run", "offline", "--prompt", ""), 2, "prompt 1 is empty"),
        (("run", "broken.toml"), 2, "broken TOML"),
        (("run", "offline", "--nonsense"), 2, "No such option"),
        (("run", "offline", "--host", "gpu7"), 3, "it has the hosts local, win"),
        (("run", "offline"), 6, "labctl provision local"),
        (("run", "offline", "--host", "win"), 2, "does not speak yet"),
        (("show", "nothing"), 9, "there is no run nothing"),
        (("verify",), 9, "there is no run"),
        (("report", "nothing"), 9, "there is no run nothing"),
        (("attach",), 9, "there is no run"),
    ],
)
def test_bad_input_ends_in_one_message_and_the_right_exit_code(
    words: tuple[str, ...], code: int, said: str, here: Path
) -> None:
    (here / "broken.toml").write_text("model = ")
    done = labctl(*words, cwd=here)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_no_inventory(tmp_path: Path) -> None:
    done = labctl("hosts", cwd=tmp_path)
    assert done.returncode == 3
    assert "next: " in done.stderr


def test_tables_come_as_json_too(here: Path) -> None:
    labs = json.loads(labctl("labs", "--json", cwd=here).stdout)
    assert {"offline", "offline-7b", "server", "server-7b"} <= {row["lab"] for row in labs}
    hosts = json.loads(labctl("hosts", "--json", cwd=here).stdout)
    assert [row["host"] for row in hosts] == ["local", "win"]
    assert json.loads(labctl("runs", "--json", cwd=here).stdout) == []


def test_doctor_of_a_bare_host_fails_by_name(here: Path) -> None:
    done = labctl("doctor", "--json", cwd=here)
    assert done.returncode == 1
    assert json.loads(done.stdout)["failures"] == ["provisioned"]


def test_doctor_that_cannot_look(here: Path) -> None:
    done = labctl("doctor", cwd=here, PATH="/nowhere")
    assert done.returncode == 10, done.stderr


def test_completion(here: Path) -> None:
    done = labctl("ru", cwd=here, _LABCTL_COMPLETE="complete_bash", COMP_WORDS="labctl ru", COMP_CWORD="1")
    assert set(done.stdout.split()) == {"run", "runs"}


def test_dry_run_prints_the_spec_and_makes_nothing(here: Path) -> None:
    done = labctl("run", "offline-7b", "--dry-run", cwd=here)
    assert json.loads(done.stdout)["model"] == "Qwen/Qwen2.5-7B-Instruct"
    assert not (here / "runs").exists()
