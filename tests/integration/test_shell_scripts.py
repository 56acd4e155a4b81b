"""Each script that a host is asked to run, by the shells that hosts have."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from labctl.sessions import Entry
from labctl.sessions.ssh import shell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
ODD = ["plain", "two  words", "-rf", "--", "'quote\"", "$HOME `id`", "a\\nb", "ünïcödé", "*", "#", "tab\there"]


class Shell:
    """Runs a script as labctl would, below ``folder``, and gives what came after the mark."""

    def __init__(self, words: list[str], path: str, folder: Path) -> None:
        self.words, self.folder = words, folder
        self.env = {"PATH": path, "HOME": str(folder)}

    def __call__(self, script: str, *arguments: str, stdin: bytes = b"", code: int = 0) -> bytes:
        return self.all(script, *arguments, stdin=stdin, code=code)[0]

    def all(self, script: str, *arguments: str, stdin: bytes = b"", code: int = 0) -> tuple[bytes, str]:
        done = subprocess.run(
            [*self.words, "-c", shell._SAY + script, "labctl", *arguments],
            input=stdin,
            capture_output=True,
            env=self.env,
            cwd=self.folder,
            check=False,
            timeout=30,
        )
        assert done.returncode == code, done.stderr.decode()
        before, mark, out = done.stdout.partition(shell.MARK)
        assert (before, mark) == (b"", shell.MARK)
        return out, done.stderr.decode()


@pytest.fixture(params=SHELLS)
def sh(request: pytest.FixtureRequest, tmp_path: Path) -> Shell:
    words = SHELLS[request.param]
    program = shutil.which(words[0])
    if program is None:
        pytest.skip(f"no {words[0]} on this machine: apt-get install {words[0]}")
    path = os.environ["PATH"]
    if request.param == "busybox":
        # Its own applets alone, as on Alpine: none of GNU's programs is to be found.
        (tmp_path / "bin").mkdir()
        subprocess.run([program, "--install", "-s", tmp_path / "bin"], check=True)
        path = str(tmp_path / "bin")
    folder = tmp_path / "home"
    folder.mkdir()
    return Shell([program, *words[1:]], path, folder)


def bring(sh: Shell, folder: str, *wanted: tuple[str, int, int], code: int = 0) -> list[bytes | None]:
    """As SshSession.bring asks and reads."""
    asked = "".join(f"{offset} {limit}\n./{name}\n" for name, offset, limit in wanted)
    left = sh(shell.BRING, folder, stdin=asked.encode(), code=code)
    found: list[bytes | None] = []
    for _ in wanted:
        size, _, left = left.partition(b"\n")
        found.append(None if size == b"-" else left[: int(size)])
        left = left if size == b"-" else left[int(size) :]
    assert left == b"end\n"
    return found


@pytest.mark.parametrize("name", [*ODD, "new\nline"])
def test_a_file_with_an_odd_name_is_put(sh: Shell, name: str) -> None:
    target = f"{name}/{name}"
    sh(shell.PUT, target, "5", "640", stdin=b"a\0b\n\xff")
    path = sh.folder / name / name
    assert path.read_bytes() == b"a\0b\n\xff"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", ODD)
def test_a_file_with_an_odd_name_is_brought_and_listed(sh: Shell, name: str) -> None:
    (sh.folder / "run").mkdir()
    (sh.folder / "run" / name).write_bytes(b"0123456789")
    assert bring(sh, "run", (name, 0, 100)) == [b"0123456789"]
    if name.isascii() and name.isprintable():  # busybox shows others as ?
        assert sh(shell.NAMES, "run").decode() == f"{name}\n"
    assert shell.entries(sh(shell.WALK, "run").decode()) == [Entry(name, 10, regular=True)]


def test_a_put_replaces_and_its_input_may_be_empty(sh: Shell) -> None:
    for data in (b"long and old", b"new", b""):
        sh(shell.PUT, "file", str(len(data)), "600", stdin=data)
        assert (sh.folder / "file").read_bytes() == data
    assert (sh.folder / "file").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("sent", [b"", b"only this", b"more than was announced"])
def test_a_put_that_breaks_off_leaves_what_was_there(sh: Shell, sent: bytes) -> None:
    (sh.folder / "file").write_bytes(b"kept")
    sh(shell.PUT, "file", "12", "640", stdin=sent, code=1)
    sh(shell.PUT, "other", "12", "640", stdin=sent, code=1)
    assert (sh.folder / "file").read_bytes() == b"kept"
    assert [one.name for one in sh.folder.iterdir()] == ["file"]


def test_a_put_where_nothing_can_be_written_says_why(sh: Shell) -> None:
    (sh.folder / "file").write_bytes(b"no folder")
    said = sh.all(shell.PUT, "file/below", "1", "640", stdin=b"x", code=1)[1]
    assert "file" in said
    (sh.folder / "folder" / "inside").mkdir(parents=True)
    sh(shell.PUT, "folder", "1", "640", stdin=b"x")
    # mv puts a file into a folder of its name: nothing that labctl names is one.
    assert (sh.folder / "folder").is_dir()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "labctl-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs root that may mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_put_on_a_full_disk_leaves_nothing_and_says_why(sh: Shell, small: Path) -> None:
    data = b"x" * 200_000
    (small / "file").write_bytes(b"kept")
    said = sh.all(shell.PUT, str(small / "file"), str(len(data)), "640", stdin=data, code=1)[1]
    assert "No space left" in said
    assert [(one.name, one.read_bytes()) for one in small.iterdir()] == [("file", b"kept")]
    sh(shell.PUT, str(small / "file"), "3", "640", stdin=b"new")


@pytest.mark.parametrize("name", ["plain", "-p", "two words/below\nit", "a/b/c"])
def test_a_folder_is_claimed_once(sh: Shell, name: str) -> None:
    sh(shell.CLAIM, name)
    assert (sh.folder / name).is_dir()
    sh(shell.CLAIM, name, code=shell.NO_SUCH)


def test_a_claim_where_nothing_can_be_made(sh: Shell) -> None:
    (sh.folder / "file").touch()
    sh(shell.CLAIM, "file", code=shell.NO_SUCH)
    for target in ("file/below", "file/below/it"):
        assert sh.all(shell.CLAIM, target, code=1)[1].strip()
    if os.geteuid() != 0 or os.access("/proc/self", os.W_OK):
        assert sh.all(shell.CLAIM, "/proc/labctl-test", code=1)[1].strip()


def test_only_one_of_many_claims_a_folder(sh: Shell) -> None:
    words = [*sh.words, "-c", shell._SAY + shell.CLAIM, "labctl", "runs/one"]
    many = [subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=sh.folder, env=sh.env) for _ in range(12)]
    assert sorted(one.wait(timeout=20) for one in many) == [0] + [shell.NO_SUCH] * 11


@pytest.mark.parametrize(
    ("offset", "limit", "found"),
    [
        (0, 100, b"0123456789"),
        (0, 10, b"0123456789"),
        (0, 3, b"012"),
        (4, 3, b"456"),
        (9, 100, b"9"),
        (10, 100, b""),
        (11, 100, b""),
        (10**12, 100, b""),
        (0, 0, b""),
    ],
)
def test_a_part_of_a_file(sh: Shell, offset: int, limit: int, found: bytes) -> None:
    (sh.folder / "file").write_bytes(b"0123456789")
    assert bring(sh, ".", ("file", offset, limit)) == [found]


def test_many_files_in_one_go(sh: Shell) -> None:
    (sh.folder / "run" / "logs").mkdir(parents=True)
    big = os.urandom(300_000)
    (sh.folder / "run" / "big").write_bytes(big)
    (sh.folder / "run" / "logs" / "end").write_bytes(b"end\n-\n5\n")
    (sh.folder / "run" / "empty").touch()
    wanted = [("none", 0, 9), ("big", 1, 10**6), ("logs", 0, 9), ("logs/end", 0, 99), ("empty", 0, 9), ("big", 0, 2)]
    wanted.remove(("logs", 0, 9))
    assert bring(sh, "run", *wanted) == [None, big[1:], b"end\n-\n5\n", b"", big[:2]]
    assert bring(sh, "no such folder", ("big", 0, 9), ("empty", 0, 9)) == [None, None]
    assert bring(sh, "run") == []


def test_what_is_no_file_is_named(sh: Shell) -> None:
    (sh.folder / "folder").mkdir()
    os.mkfifo(sh.folder / "pipe")
    for name in ("folder", "pipe"):
        said = sh.all(shell.BRING, ".", stdin=f"0 9\n./{name}\n".encode(), code=1)[1]
        assert f"{name} cannot be read" in said


def test_a_listing_tells_files_from_all_else(sh: Shell) -> None:
    run = sh.folder / "run"
    (run / "logs").mkdir(parents=True)
    (run / ".hidden").write_bytes(b"abc")
    (run / "logs" / "engine.log").write_bytes(b"12345")
    (run / "link").symlink_to("/etc/passwd")
    (run / "folder").symlink_to("logs")
    (run / "dangling").symlink_to("nowhere")
    os.mkfifo(run / "pipe")
    found = {one.path: one for one in shell.entries(sh(shell.WALK, "run").decode())}
    assert {name: one.regular for name, one in found.items()} == {
        ".hidden": True,
        "logs/engine.log": True,
        "link": False,
        "folder": False,
        "dangling": False,
        "pipe": False,
    }
    assert found["logs/engine.log"].size == 5
    assert sorted(sh(shell.NAMES, "run").decode().splitlines()) == [
        *(".hidden", "dangling", "folder", "link", "logs", "pipe")
    ]


def test_a_listing_of_many_files(sh: Shell) -> None:
    (sh.folder / "run").mkdir()
    for number in range(3000):
        (sh.folder / "run" / f"{number:040}").touch()
    assert len(shell.entries(sh(shell.WALK, "run").decode())) == 3000


def test_a_name_with_a_newline_is_refused(sh: Shell) -> None:
    (sh.folder / "run").mkdir()
    (sh.folder / "run" / "new\nline").touch()
    with pytest.raises(shell.GarbledError):
        shell.entries(sh(shell.WALK, "run").decode())


def test_a_path_to_search_in_misleads_nobody(sh: Shell) -> None:
    for place in ("here", "elsewhere/here"):
        (sh.folder / place).mkdir(parents=True)
        (sh.folder / place / "file").write_text(place)
    sh.env["CDPATH"] = str(sh.folder / "elsewhere")
    assert bring(sh, "here", ("file", 0, 99)) == [b"here"]
    assert shell.entries(sh(shell.WALK, "here").decode()) == [Entry("file", 4, regular=True)]
    assert sh(shell.NAMES, "here") == b"file\n"


def test_an_empty_folder_and_one_that_is_not_there(sh: Shell) -> None:
    (sh.folder / "empty").mkdir()
    (sh.folder / "file").touch()
    assert shell.entries(sh(shell.WALK, "empty").decode()) == []
    assert sh(shell.NAMES, "empty") == b""
    for name in ("none", "file"):
        assert sh(shell.WALK, name, code=shell.NO_SUCH) == b""
        assert sh(shell.NAMES, name, code=shell.NO_SUCH) == b""


def test_waiting_for_a_path(sh: Shell) -> None:
    sh(shell.WAIT, "-odd", "2", code=shell.NO_SUCH)
    began = time.monotonic()
    with subprocess.Popen(["sh", "-c", "sleep 0.3; : > ./-odd"], cwd=sh.folder):
        sh(shell.WAIT, "-odd", "100")
    assert 0.25 < time.monotonic() - began < 5
    sh(shell.WAIT, "-odd", "0")


@pytest.mark.parametrize("login", ["dash", "bash", "busybox sh", "zsh", "fish", "csh"])
def test_the_one_line_means_the_same_to_every_login_shell(tmp_path: Path, login: str) -> None:
    words = login.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]} on this machine: apt-get install {words[0]}")
    odd = ["two  words", "$HOME", "it's", "`id`", "*", "", "a;b", "tab\t", '"', "\\", "ü"]
    line = shell.command(shell.RUN, ["printf", r"%s\n", *odd], {"LABCTL_ODD": "it's $HOME"})
    done = subprocess.run([*words, "-c", line], capture_output=True, cwd=tmp_path, check=True)
    assert done.stdout == shell.MARK + "".join(f"{word}\n" for word in odd).encode()
    line = shell.command(shell.RUN, ["printenv", "LABCTL_ODD"], {"LABCTL_ODD": "it's $HOME"})
    done = subprocess.run([*words, "-c", line], capture_output=True, cwd=tmp_path, check=True)
    assert done.stdout == shell.MARK + b"it's $HOME\n"
