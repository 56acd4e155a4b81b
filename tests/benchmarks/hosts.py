"""What labctl costs over SSH, on real container hosts: by the benchmarks `ssh`, `eight` and `crowd`."""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.pairs import compare
from tests.e2e.conftest import LABCTL
from tests.hosts import engine, image, light_lab
from tests.hosts.fleet import Fleet, sweep
from tests.hosts.laptop import Laptop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hosts.machine import Machine

BYTES = 4_000_000
COMMAND = f"head -c {BYTES} /dev/urandom > /tmp/big && cd /tmp && sha256sum big > big.sha256"
RUN = ("run", "offline", "--model", light_lab.MODEL)


@contextmanager
def hosts(count: int) -> Iterator[tuple[Laptop, list[Machine]]]:
    """So many hosts with the stand-in lab, and a laptop that knows them."""
    with engine.engine() as client, tempfile.TemporaryDirectory() as folder:
        fleet, laptop = Fleet(client, image.image(client)), Laptop(Path(folder) / "laptop")
        machines = [fleet.machine(f"gpu{number}") for number in range(count)]
        try:
            for machine in machines:
                light_lab.install(machine)
                laptop.add(machine, machine.name)
                laptop.know(machine)
            yield laptop, machines
        finally:
            sweep(client, everything=True)


def seconds(laptop: Laptop, *command: object) -> float:
    """Wall time of a command of the laptop's, which must succeed."""
    began = time.perf_counter()
    words = [str(word) for word in command]
    subprocess.run(words, env=laptop.env, cwd=laptop.folder, capture_output=True, check=True)
    return time.perf_counter() - began


def bench_ssh() -> None:
    """Wall time of `labctl run` on a container host minus the runner's own, report included."""
    with hosts(1) as (laptop, [machine]):
        added = []
        for _ in range(9):
            wall = seconds(laptop, LABCTL, *RUN, "--host", machine.name)
            added.append(wall - laptop.record()["ended_s"])
    added = sorted(added[1:])  # the first one asks Ansible for the inventory
    print(
        f"added by labctl over SSH: median {statistics.median(added):.2f} s, {added[0]:.2f} to {added[-1]:.2f}, n = 8"
    )


def bench_eight() -> None:
    """A command and 4 MB back from 8 hosts, verified, against ssh and scp in parallel."""
    with hosts(8) as (laptop, machines):
        names = ",".join(machine.name for machine in machines)
        ours = [sys.executable, "-m", "tests.benchmarks.hosts", names, laptop.folder / "ours"]
        theirs = laptop.folder / "theirs.sh"
        theirs.write_text(_script(machines, laptop.folder / "theirs"))
        laptop.env["PYTHONPATH"] = str(Path(__file__).parents[2])
        seconds(laptop, *ours)
        found = compare(lambda: seconds(laptop, *ours), lambda: seconds(laptop, "bash", theirs), 9)
    print("command + 4 MB from 8 hosts, verified, labctl's sessions / ssh + scp in parallel:", found)


def _script(machines: list[Machine], folder: Path) -> str:
    lines = [f"set -e; mkdir -p {folder}; cd {folder}"]
    for machine in machines:
        where, place = f"root@{machine.address}", folder / machine.name
        get = f"scp -q {where}:/tmp/big {where}:/tmp/big.sha256 {place}/"
        check = f"cd {place}; sha256sum -c --quiet big.sha256"
        lines.append(f"(mkdir -p {place}; ssh {where} {shlex.quote(COMMAND)}; {get}; {check}) &")
    return "\n".join([*lines, "for job in $(jobs -p); do wait $job; done", ""])


def fetch_all(pattern: str, into: Path) -> None:
    """What `bench_eight` measures: everything that labctl does for such a task, by its own modules."""
    from hashlib import sha256

    from labctl import fleet, inventory
    from labctl.sessions import Want, open_session

    def one(host: inventory.Host, _leave: fleet.Leave) -> bool:
        place = into / host.name
        place.mkdir(parents=True, exist_ok=True)
        with open_session(host) as session:
            done = session.run(["sh", "-c", COMMAND])
            wanted = [Want("big", limit=BYTES), Want("big.sha256", limit=1000)]
            session.bring("/tmp", wanted, lambda name: (place / name).open("wb"))  # noqa: S108 - on the test host
        whole = sha256((place / "big").read_bytes()).hexdigest() == (place / "big.sha256").read_text().split()[0]
        return done.code == 0 and whole

    outcomes = fleet.each(inventory.select(pattern), one)
    if not all(outcome.result() for outcome in outcomes):
        raise SystemExit("something did not arrive whole")


def bench_crowd() -> None:
    """How the time and the memory of one labctl grow with the number of hosts."""
    with hosts(32) as (laptop, machines):
        for count in (1, 2, 4, 8, 16, 32):
            pattern = ",".join(f"gpu{number}" for number in range(count))
            seconds(laptop, LABCTL, "runs", "--host", pattern)
            wall = seconds(laptop, sys.executable, "-c", _MEASURE, LABCTL, *RUN, "--host", pattern)
            used = json.loads((laptop.folder / "used.json").read_text())
            print(f"{count:3} hosts: {wall:5.1f} s, labctl's CPU {used['cpu']:5.1f} s, {used['rss'] / 1024:4.0f} MiB")
        # Two hundred names on the same hosts: as many connections, and no work behind them.
        for number in range(32, 200):
            machine = machines[number % 32]
            with laptop.inventory.open("a") as lines:
                lines.write(f"gpu{number} ansible_host={machine.address} ansible_user=root lab_dir={machine.lab_dir}\n")
        for count in (8, 32, 100, 200):
            pattern = f"all[0:{count - 1}]"
            seconds(laptop, LABCTL, "runs", "--host", pattern)
            wall = seconds(laptop, sys.executable, "-c", _MEASURE, LABCTL, "runs", "--host", pattern)
            used = json.loads((laptop.folder / "used.json").read_text())
            cost = f"{wall:5.1f} s, labctl's CPU {used['cpu']:5.1f} s, {used['rss'] / 1024:4.0f} MiB"
            print(f"{count:3} connections, `runs`: {cost}")


_MEASURE = """
import json, resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
json.dump({"rss": used.ru_maxrss, "cpu": used.ru_utime + used.ru_stime}, open("used.json", "w"))
"""

if __name__ == "__main__":
    fetch_all(sys.argv[1], Path(sys.argv[2]))
