"""The probe over a session, by hand, and by `labctl doctor`: one exchange, no file left, within five seconds."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labctl.doctor import looking
from labctl.errors import CouldNotCheckError, UnreachableError
from labctl.inventory import Host
from labctl.sessions.local import LocalSession
from labctl.sessions.ssh import shell

if TYPE_CHECKING:
    from labctl.sessions import Done

HOST = Host(name="here", connection="local", lab_dir="labctl", address="localhost")
CAPTURE = Path(__file__).parents[1] / "data" / "probe-h100" / "facts.json"
# The command as it goes to sshd: servers must take packets of 35000 bytes, and no more (RFC 4253, 6.1).
LONGEST = 34_000


class Session(LocalSession):
    """This machine, with a clock that is off and the commands kept."""

    asked: list[list[str]]

    def __init__(self, off: float = 0.0, *, python: bool = True) -> None:
        super().__init__(HOST)
        self.asked, self.off, self.python = [], off, python

    def run(self, command: Any, **options: Any) -> Done:
        self.asked.append(list(command))
        if not self.python and len(self.asked) == 1:
            return super().run(["sh", "-c", "exit 45"])
        done = super().run(command, **options)
        facts = json.loads(done.out)
        return done._replace(out=json.dumps({**facts, "time": facts["time"] + self.off}))


def test_one_exchange_and_no_file() -> None:
    session = Session()
    facts = looking.look(HOST, session)
    assert (facts["schema"], facts["by"]) == (2, "python")
    assert len(session.asked) == 1
    assert_fits(session.asked[0])
    assert facts["clock"]["offset"] == 0.0


def test_without_a_python_a_shell_looks() -> None:
    session = Session(python=False)
    facts = looking.look(HOST, session)
    assert (facts["schema"], facts["by"]) == (2, "shell")
    assert len(session.asked) == 2
    assert_fits(session.asked[1])


@pytest.mark.parametrize(("off", "shown"), [(30.0, 30.0), (-30.0, -30.0)])
def test_a_clock_that_is_off(off: float, shown: float) -> None:
    facts = looking.look(HOST, Session(off))
    assert math.isclose(facts["clock"]["offset"], shown, abs_tol=facts["clock"]["within"] + 1.2)


def test_a_host_that_says_nothing_of_use() -> None:
    class Mute(LocalSession):
        def run(self, command: Any, **options: Any) -> Done:
            del command
            return super().run(["sh", "-c", "echo 'sh: cannot fork' >&2; exit 2"], **options)

    with pytest.raises(CouldNotCheckError, match="could not run on here: sh: cannot fork"):
        looking.look(HOST, Mute(HOST))


def assert_fits(words: list[str]) -> None:
    assert len(shell.command(shell.RUN, words)) < LONGEST
    # A login shell may be csh, which takes a line break for the end of a quoted word.
    assert not any("\n" in word for word in words)


@pytest.mark.parametrize(
    "words", [["dash", "-c"], ["bash", "-c"], ["busybox", "sh", "-c"]], ids=["dash", "bash", "busybox"]
)
@pytest.mark.parametrize("python", [True, False])
def test_the_words_for_a_host_through_its_shell(words: list[str], tmp_path: Path, *, python: bool) -> None:
    if shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]} on this machine")
    session = Session(python=python)
    looking.look(HOST, session)
    command = shell.command(shell.RUN, session.asked[-1])
    env = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([*words, command], env=env, cwd=tmp_path, capture_output=True, check=True, timeout=30)
    facts = json.loads(done.stdout.partition(shell.MARK)[2])
    assert (facts["by"], facts["schema"]) == ("python" if python else "shell", 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("python", [True, False])
def test_the_script_for_a_machine_out_of_reach(tmp_path: Path, *, python: bool) -> None:
    script = tmp_path / "probe.sh"
    script.write_text(labctl("doctor", "--probe", cwd=tmp_path).stdout)
    path = os.environ["PATH"]
    if not python:
        busybox = shutil.which("busybox")
        if busybox is None:
            pytest.skip("no busybox on this machine")
        (tmp_path / "bin").mkdir()
        subprocess.run([busybox, "--install", "-s", str(tmp_path / "bin")], check=True)
        path = str(tmp_path / "bin")
        if any(Path(place).exists() for place in ("/usr/bin/python3", "/opt/conda/bin/python3")):
            # The script finds a Python wherever it may be; one that is too old is none.
            text = script.read_text()
            script.write_text(text.replace("sys.version_info < (3, 6)", "True"))
    home = tmp_path / "home"
    home.mkdir()
    env = {"PATH": path, "HOME": str(home)}
    done = subprocess.run(["/bin/sh", str(script)], env=env, capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(done.stdout)["by"] == ("python" if python else "shell")
    (tmp_path / "facts.json").write_text(done.stdout)
    told = json.loads(labctl("doctor", "--facts", "facts.json", "--json", cwd=tmp_path, code=1).stdout)
    assert "provisioned" in told["failures"]
    assert told["facts"]["lab"]["dir"] == str(home / "labctl")
    assert list(home.iterdir()) == []


def labctl(*words: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("labctl"))
    done = subprocess.run([program, *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_doctor_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "inventory.ini").write_text("local ansible_connection=local\n")
    labctl("doctor", cwd=tmp_path, code=1)
    began = time.monotonic()
    done = labctl("doctor", "--json", cwd=tmp_path, code=1)
    assert time.monotonic() - began < 10, "five seconds, on a machine that does nothing else"
    told = json.loads(done.stdout)
    assert told["failures"] == ["provisioned"]
    assert told["sentence"].startswith(told["facts"]["hostname"])
    assert {"host", "kind", "plan", "checks"} < set(told)
    # Looking leaves nothing behind; the lab directory would be beside the inventory.
    assert not (tmp_path / ".labctl" / "local").exists()
    # What was saved is judged alike, but for the clock of that moment.
    (tmp_path / "saved.json").write_text(done.stdout)
    again = json.loads(labctl("doctor", "--facts", "saved.json", "--json", cwd=tmp_path, code=1).stdout)
    assert again["checks"] == told["checks"]


def test_doctor_of_a_saved_host_with_a_gpu(tmp_path: Path) -> None:
    said = labctl("doctor", "--facts", str(CAPTURE), cwd=tmp_path, code=1).stdout.splitlines()
    assert said[0].startswith("vm is a container (Ubuntu 24.04.3 LTS): GPU, driver 580.159.04")
    assert any(line.startswith("ok    driver") and "580.159.04" in line for line in said)
    assert any(line.startswith("fail  provisioned") for line in said)


def test_doctor_cannot_look_into_a_file_without_facts(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text("{}")
    assert "holds no facts" in labctl("doctor", "--facts", "facts.json", cwd=tmp_path, code=10).stderr
    assert "cannot be read" in labctl("doctor", "--facts", "absent.json", cwd=tmp_path, code=10).stderr


def test_a_python_that_hangs_is_passed_by(tmp_path: Path) -> None:
    (tmp_path / "python3").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "python3").chmod(0o755)

    class Hung(LocalSession):
        def run(self, command: Any, **options: Any) -> Done:
            options["env"] = {**options["env"], "PATH": f"{tmp_path}:{os.environ['PATH']}"}
            return super().run(command, **options)

    # It would wait for all the patience there is, and then be no answer.
    assert looking.look(HOST, Hung(HOST))["by"] == "python"


def test_no_answer_is_told_without_the_command() -> None:
    with pytest.raises(UnreachableError) as told, LocalSession(HOST) as session:
        session.run(["sh", "-c", "sleep 30 # a whole program"], timeout=0.2)
    assert str(told.value) == "here: sh gave no answer in 0 s"
