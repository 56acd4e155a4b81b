"""The playbook without the heavy part (the real environment is built in tests/e2e)."""

from __future__ import annotations

import contextlib
import getpass
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from labctl import fleet, inventory, provision
from labctl.commands import provision as verb
from labctl.errors import HostKeyError, LabError, ProvisionError, UnreachableError, UsageError
from labctl.inventory import Host
from labctl.provision import Order, lock, rooms, runner, settings
from labctl.provision import log as provision_log
from labctl.provision.ends import SudoPasswordNeeded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from labctl.fleet import Leave, Outcome


HUGE = {"cpu": 10**6, "cuda": 10**6, "existing": 10**6}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = tmp_path / "inventory.ini"
    made.write_text("local ansible_connection=local\n", encoding="utf-8")
    return made


class Lines(list[str]):
    """A ``provision.Show`` that keeps every line."""

    def line(self, _host: str, text: str) -> None:
        self.append(text)

    passing = line

    def doing(self, host: str, task: str) -> None:
        pass

    def tick(self) -> None:
        pass


def _provision(
    source: Path, lines: Lines, *, check: bool = True, tags: tuple[str, ...] = (), extra: dict[str, Any] | None = None
) -> dict[str, Any]:
    order = Order(check=check, tags=tags, extra=extra or {})
    [outcome] = provision.provision([inventory.resolve("local", source)], order, source=source, show=lines)
    return outcome.result()


def _log(source: Path, name: str = "provision-local.log") -> str:
    return (provision_log.folder(source.parent) / name).read_text(encoding="utf-8")


def test_check_on_a_bare_host_changes_nothing_and_says_what_it_would(source: Path) -> None:
    lines = Lines()
    recap = _provision(source, lines)
    assert recap["failed"] == 0
    assert recap["changed"] > 0
    assert recap["seconds"] > 0
    assert "  changed  lab_runner : Write the lab's card" in lines
    assert not (source.parent / ".labctl" / "local").exists()
    assert not (source.parent / "home").exists(), "Ansible wrote into the home directory"


def test_tags_limit_the_roles_and_the_log_holds_all_in_private(source: Path) -> None:
    lines = Lines()
    _provision(source, lines, tags=("lab_runner",))
    assert {line.split()[1] for line in lines} == {"preflight", "lab_runner"}
    assert "PLAY RECAP" in _log(source)
    assert "TASK [lab_runner : " in _log(source)
    for name in ("provision-local.log", "provision-local.jsonl"):
        assert (provision_log.folder(source.parent) / name).stat().st_mode & 0o777 == 0o600


def test_of_each_task_a_few_facts_are_kept(source: Path) -> None:
    recap = _provision(source, Lines(), tags=("lab_runner",))
    begin, *tasks, end = (json.loads(line) for line in _log(source, "provision-local.jsonl").splitlines())
    assert (begin["event"], begin["check"], begin["tags"]) == ("begin", True, ["lab_runner"])
    assert {row["role"] for row in tasks if row["status"] == "changed"} == {"lab_runner"}
    assert {row["host"] for row in tasks} == {"local"}
    assert {row["status"] for row in tasks} >= {"ok", "changed"}
    assert sum(row["seconds"] for row in tasks) > 0.1
    assert end["ok"] == recap["ok"]
    assert not list(provision_log.folder(source.parent).glob("provisioned-*")), "a check of one role provisions nothing"


def test_too_little_room_is_one_sentence(source: Path) -> None:
    with pytest.raises(ProvisionError, match=r"Only [\d.]+ GiB are free at .*set lab_dir to a folder") as error:
        _provision(source, Lines(), check=False, extra={"preflight_free_gib": HUGE})
    assert "provision-local.log" in str(error.value)
    assert "preflight : Need room" in str(error.value)


def test_a_version_without_a_lock_names_those_there_are(source: Path) -> None:
    with pytest.raises(ProvisionError, match=r"gets: There is no lock for vLLM 0\.1\.0.*0\.32\.0 \(cpu\)"):
        _provision(source, Lines(), extra={"vllm_version": "0.1.0"}, tags=("vllm",))


def test_ansible_that_cannot_start_says_why(source: Path) -> None:
    host = inventory.resolve("local", source)
    (source.parent / "host_vars").mkdir()
    (source.parent / "host_vars" / "local.yml").write_text("{a: [", encoding="utf-8")
    [outcome] = provision.provision([host], Order(), source=source, show=Lines())
    with pytest.raises(ProvisionError, match=r"Ansible stopped before its end; it said: .*YAML"):
        outcome.result()


def test_a_variable_of_the_wrong_type_is_named(source: Path) -> None:
    with pytest.raises(ProvisionError, match=r"a variable of the role preflight cannot be .*preflight_free_gib"):
        _provision(source, Lines(), extra={"preflight_free_gib": "plenty"})


def test_a_role_that_there_is_not_is_refused_with_those_there_are(source: Path) -> None:
    with pytest.raises(UsageError, match=r"no role is called vlm; there are: preflight, .*vllm"):
        _provision(source, Lines(), tags=("vlm", "vllm"))


def test_each_of_several_hosts_has_its_own_end(source: Path) -> None:
    source.write_text(f'[all:vars]\nansible_connection=local\n[labs]\none\nsmall preflight_free_gib="{HUGE}"\n')
    lines = Lines()
    outcomes = provision.provision(
        inventory.select("labs", source), Order(check=True, tags=("lab_runner",)), source=source, show=lines
    )
    ends = {outcome.host.name: outcome for outcome in outcomes}
    assert ends["one"].result()["failed"] == 0
    with pytest.raises(ProvisionError, match=r"Only .* GiB are free"):
        ends["small"].result()
    assert "small" not in _log(source, "provision-one.log").partition("PLAY RECAP")[0]
    assert "Need room" in _log(source, "provision-small.log")


def test_two_at_once_on_one_host_are_one_too_many(source: Path) -> None:
    lines = Lines()
    refused = pytest.raises(ProvisionError, match=rf"local is being provisioned already by process {os.getpid()} ")
    with lock.held(source.parent / ".labctl" / "locks", "local"), refused:
        _provision(source, lines)
    assert lines == []
    _provision(source, lines, tags=("lab_runner",))


def test_a_later_run_gets_the_events_of_the_last_good_provision(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "r1"
    (run / "local").mkdir(parents=True)
    logs = provision_log.folder(tmp_path)
    logs.mkdir(parents=True)
    provision_log.into_run(tmp_path, "gpu1", run)
    assert not (run / provision_log.IN_RUN).exists()
    for status in ("ok", "failed"):
        with provision_log.HostLog(logs, "gpu1", str) as log:
            log.result({"role": "vllm", "task": "vllm : Prove", "status": status, "seconds": 1.0, "msg": "x\n" * 900})
            if status == "ok":
                log.keep()
    provision_log.into_run(tmp_path, "gpu1", run)
    [row] = [json.loads(line) for line in (run / provision_log.IN_RUN).read_text().splitlines()]
    assert (row["role"], row["task"], row["status"]) == ("vllm", "Prove", "ok")
    assert len(row["message"]) == 500
    assert (run / provision_log.IN_RUN).stat().st_mode & 0o777 == 0o600


def test_no_control_code_comes_into_the_log(tmp_path: Path) -> None:
    with provision_log.HostLog(tmp_path, "gpu1", lambda text: text.replace("hunter2", "***")) as log:
        log.say("\x1b]0;title\x07a\tb\r\nc\x1b[31m\x9b2J\x08 hun\x1b[0mter2 \u202e", "vllm : Prove")
    assert log.path.read_text().partition("*\n")[2] == "a\tb\nc *** ⟨U+202E⟩\n"


@pytest.mark.parametrize("bundle", ["/x{{ lookup('pipe', 'touch MARK') }}", "/x{% if 1 %}y{% endif %}"])
def test_a_bundles_folder_is_no_template(tmp_path: Path, bundle: str) -> None:
    mark = tmp_path / "mark"
    bundle = bundle.replace("MARK", str(mark))
    local = Host(name="box", connection="local", lab_dir=str(tmp_path / "lab"), address="localhost")
    room = rooms.Room(local, Order(), bundle, tmp_path, Lines())
    last = settings.host_vars(tmp_path / "given", [room])
    (tmp_path / "hosts.ini").write_text("box ansible_connection=local\n")
    show = {"ansible.builtin.debug": {"msg": "{{ lab_bundle ~ '/joined' }}"}}
    play = [{"hosts": "all", "gather_facts": False, "tasks": [show]}]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "hosts.ini", "-i", str(last), "play.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"{bundle}/joined" in done.stdout
    assert not mark.exists()


SECRET = "Zq7vNk-secret-of-nobody"  # noqa: S105 - made up
_CALL = "from labctl.cli import main; main()"


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for temporary files whose path is short enough for labctl."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as name:
        yield Path(name)


@contextlib.contextmanager
def _midst(source: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A labctl in the midst of Ansible's work, with a secret in its environment and a password."""
    for name, value in {"TMPDIR": str(scratch), "HF_TOKEN": SECRET, "LABCTL_INVENTORY": str(source)}.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", _CALL, "provision", "local", "--check", "-K"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{SECRET}\n".encode())
        process.stdin.close()
        begun = next((line for line in process.stdout if b"preflight : Look at the host" in line), b"")
        assert begun, "it never came to its second task"
        try:
            yield process
        finally:
            process.kill()


def _ansibles(scratch: Path) -> list[str]:
    """What of Ansible still works with this scratch folder."""
    found = subprocess.run(["pgrep", "-af", str(scratch)], capture_output=True, text=True, check=False).stdout
    return [line for line in found.splitlines() if "ansible" in line]


def _gone(scratch: Path) -> bool:
    deadline = time.monotonic() + 10
    while _ansibles(scratch) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not _ansibles(scratch)


def _holders(*folders: Path) -> list[Path]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if SECRET.encode() in path.read_bytes()]


def test_labctl_that_is_killed_leaves_no_secret_and_no_ansible(
    source: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _midst(source, scratch, monkeypatch) as process:
        assert _ansibles(scratch)
        assert _holders(scratch, source.parent / ".labctl") == []
        process.kill()
        process.wait()
    assert _holders(scratch, source.parent / ".labctl") == []
    assert _gone(scratch)


def test_ctrl_c_ends_ansible_and_takes_everything_away(
    source: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _midst(source, scratch, monkeypatch) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
    assert _gone(scratch)
    assert [path for path in scratch.iterdir() if path.name.startswith("labctl-")] == []
    assert _holders(source.parent / ".labctl") == []


def test_a_password_travels_through_a_private_pipe_and_nowhere_else(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, list[str]]] = []

    def run(playbook: runner.Playbook, environment: dict[str, str], *_: object) -> int:
        seen.append((playbook.variables, [*playbook.words, *environment.values()]))
        return 0

    monkeypatch.setattr(runner, "run", run)
    secret = 's3 {{ x }}"\\ü'  # noqa: S105 - made up
    provision.provision(
        [inventory.resolve("local", source)], Order(become_password=secret), source=source, show=Lines()
    )
    ((values, words),) = seen
    assert values["ansible_become_password"] == {"__ansible_unsafe": secret}
    assert not [word for word in words if secret in word]


class NoLine:
    """Stands for labctl's own session, which comes before Ansible's: here the line breaks only after it."""

    def __init__(self, _host: object) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def _remote(source: Path, said: str, monkeypatch: pytest.MonkeyPatch) -> LabError:
    """The error for a host whose ssh says this and gives up."""
    folder = source.parent / "bin"
    folder.mkdir()
    program = folder / "ssh"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\nexit 255\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(provision, "open_session", NoLine)
    source.write_text("gpu1 ansible_host=203.0.113.7\n", encoding="utf-8")
    return _fails(source)


def _fails(source: Path) -> LabError:
    [outcome] = provision.provision([inventory.resolve("gpu1", source)], Order(), source=source, show=Lines())
    assert isinstance(outcome.error, LabError)
    return outcome.error


def test_a_line_that_cannot_be_had_is_told_as_by_every_other_verb(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_host: object) -> None:
        raise UnreachableError("gpu1 takes none of your keys", "ssh-copy-id gpu1")

    monkeypatch.setattr(provision, "open_session", refused)
    source.write_text("gpu1\n", encoding="utf-8")
    error = _fails(source)
    assert (str(error), error.next_command) == ("gpu1 takes none of your keys", "ssh-copy-id gpu1")
    assert not (provision_log.folder(source.parent) / "provision-gpu1.log").exists(), "Ansible was started"


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
    assert isinstance(_fails(source), UnreachableError)
    log = _log(source, "provision-gpu1.log")
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
        self.orders: list[Order] = []
        self.prompts: list[str] = []

    def __call__(
        self, hosts: Sequence[inventory.Host], order: Order, *, show: provision.Show, **_: object
    ) -> list[Outcome[dict[str, Any]]]:
        self.orders.append(order)

        def one(host: inventory.Host, _leave: Leave) -> dict[str, Any]:
            self.given.append((host.name, order.become_password))
            show.line(host.name, "  changed  a task\x1b]0;title\x07")
            error = self.ends[host.name].pop(0)
            if error:
                raise error
            return {"ok": 3, "changed": 1, "failed": 0, "skipped": 0, "seconds": 2.0, "notes": ["torch sees 1 GPU"]}

        return fleet.each(hosts, one)


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
    assert "b  changed  a task\n" in err
    assert sorted(recorded.given) == [("a", ""), ("b", ""), ("c", "")], "without a terminal nobody can be asked"


@pytest.mark.usefixtures("three")
def test_a_sudo_password_is_asked_for_once_and_only_for_those_who_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    need = SudoPasswordNeeded("lacks g++")
    recorded = Recorded({"a": [need, None], "b": [need, None], "c": [None]})
    assert _verb(recorded, monkeypatch, ["secret"]) == 0
    assert recorded.prompts == ["sudo password for me@a, you@b: "]
    assert sorted(recorded.given[:3]) == [("a", None), ("b", None), ("c", None)]
    assert sorted(recorded.given[3:]) == [("a", "secret"), ("b", "secret")]


@pytest.mark.usefixtures("three")
def test_nobody_is_asked_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    need = SudoPasswordNeeded("lacks libnuma")
    recorded = Recorded({"a": [need, need], "b": [None], "c": [None]})
    assert _verb(recorded, monkeypatch, [""]) == ProvisionError.exit_code
    assert recorded.prompts == ["sudo password for me@a: "]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(("answers", "given"), [(["secret"], "secret"), (None, "typed")])
def test_a_password_may_be_given_first(monkeypatch: pytest.MonkeyPatch, answers: list[str] | None, given: str) -> None:
    recorded = Recorded({"a": [None], "b": [None], "c": [None]})
    assert _verb(recorded, monkeypatch, answers, ask_become_pass=True) == 0
    assert sorted(recorded.given) == [("a", given), ("b", given), ("c", given)]


@pytest.mark.usefixtures("three")
def test_options_become_variables_of_the_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded({"a": [None], "b": [None], "c": [None]})
    words = ["vllm_without=[flashinfer-python]", "preflight_free_gib=0.5", "vllm_python=3.10"]
    assert _verb(recorded, monkeypatch, None, driver=True, docker=True, extra_vars=words) == 0
    assert recorded.orders[0].extra == {
        "vllm_without": ["flashinfer-python"],
        "preflight_free_gib": 0.5,
        "vllm_python": "3.10",
        "gpu_driver_action": "install",
        "container_runtime_action": "install",
    }


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("word", ["vllm_python", "a-b=1", "a=[", "lab_dir=/x", "@/nonexistent", "{a: ["])
def test_a_variable_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    with pytest.raises(UsageError):
        _verb(Recorded({}), monkeypatch, None, extra_vars=[word])


@pytest.mark.usefixtures("three")
def test_reset_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded({"a": [None], "b": [None], "c": [None]})
    with pytest.raises(UsageError, match="takes the lab off a, b, c: where nobody can be asked, it takes --yes"):
        _verb(recorded, monkeypatch, None, reset=True)
    assert recorded.orders == []
    assert _verb(recorded, monkeypatch, None, reset=True, yes=True) == 0
    assert [order.playbook for order in recorded.orders] == ["reset"]


@pytest.mark.usefixtures("three")
def test_verify_prints_what_it_proved(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = Recorded({"a": [None], "b": [None], "c": [None]})
    assert _verb(recorded, monkeypatch, None, verify=True) == 0
    assert [order.playbook for order in recorded.orders] == ["verify"]
    assert "a: torch sees 1 GPU\n" in capsys.readouterr().out


@pytest.mark.usefixtures("three")
def test_json_tells_of_every_host(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = Recorded({"a": [ProvisionError("a broke", "cure")], "b": [None], "c": [None]})
    assert _verb(recorded, monkeypatch, None, json=True) == ProvisionError.exit_code
    rows = json.loads(capsys.readouterr().out)
    assert [(row["host"], row["error"], row.get("ok")) for row in rows] == [
        ("a", "a broke", None),
        ("b", None, 3),
        ("c", None, 3),
    ]
