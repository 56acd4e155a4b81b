"""What an environment with vLLM costs: `environment` and `again` here, `fleet` on eight container hosts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.hosts import seconds
from tests.benchmarks.pairs import compare, ratio
from tests.e2e.conftest import LABCTL, ROOT, Project, provisioned
from tests.hosts import engine, image
from tests.hosts.fleet import Fleet, sweep
from tests.hosts.laptop import Laptop

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK = ROOT / "ansible" / "locks" / "vllm-0.32.0-cpu.txt"
UV = LABCTL.with_name("uv")
PIP_TO_UV = ROOT / "ansible" / "roles" / "python_env" / "files" / "pip_to_uv.py"
TRIPLES = 3
# The tasks that do what `uv venv` and `uv pip sync` do.
MAKING = ("Make an environment on", "Install and compile to bytecode")


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the disk that the labs are on."""
    with tempfile.TemporaryDirectory(dir=ROOT / ".labctl", prefix="bench-") as folder:
        yield Path(folder)


def wall(*words: object, **env: str) -> float:
    """Seconds that a command takes, which must succeed."""
    began = time.perf_counter()
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [str(word) for word in words]
    subprocess.run(command, env={**variables, **env}, capture_output=True, check=True)
    return time.perf_counter() - began


def by_labctl() -> tuple[float, float]:
    """`labctl provision local` where nothing is, with an empty cache.

    All of it (uv itself, looks, proofs, runner, Ansible), and of that what makes the environment, as uv alone does.
    """
    with scratch() as folder:
        (folder / "inventory.ini").write_text("local ansible_connection=local\n")
        project = Project(folder)
        began = time.perf_counter()
        project("provision", "local", timeout=900)
        whole = time.perf_counter() - began
        log = (folder / ".labctl" / "logs" / "provision-local.jsonl").read_text()
        tasks = [row for row in map(json.loads, log.splitlines()) if row["event"] == "task"]
        return whole, sum(row["seconds"] for row in tasks if row["task"].startswith(MAKING))


def by_uv() -> float:
    """The same lock by uv alone, bytecode compiled, with an empty cache."""
    with scratch() as folder:
        env = {"VIRTUAL_ENV": str(folder / "env"), "UV_CACHE_DIR": str(folder / "cache"), "UV_NO_PROGRESS": "1"}
        uv = (sys.executable, PIP_TO_UV, UV)
        made = wall(*uv, "venv", "--python", "3.11", folder / "env", **env)
        return made + wall(*uv, "pip", "sync", "--require-hashes", "--compile-bytecode", LOCK, **env)


def by_pip() -> float:
    """The same lock by `python -m venv` and `pip install`, with an empty cache."""
    with scratch() as folder:
        made = wall("python3", "-m", "venv", folder / "env")
        pip = (folder / "env" / "bin" / "python", "-m", "pip", "install", "--no-deps", "--no-cache-dir")
        return made + wall(*pip, "--require-hashes", "-r", LOCK)


def bench_environment() -> None:
    """From an empty cache, in triples: labctl's whole provision, uv alone, venv and pip."""
    rows = []
    for _ in range(TRIPLES):
        rows.append((by_labctl(), by_uv(), by_pip()))
        (whole, part), uv, pip = rows[-1]
        print(f"  labctl {whole:.1f} s ({part:.1f} s the environment), uv {uv:.1f} s, pip {pip:.1f} s", flush=True)
    print("venv + pip / labctl's environment:", ratio([(pip, part) for (_, part), _, pip in rows]))
    print("labctl's environment / uv alone:", ratio([(part, uv) for (_, part), uv, _ in rows]))
    print("venv + pip / labctl's whole provision:", ratio([(pip, whole) for (whole, _), _, pip in rows]))


def bench_again() -> None:
    """A second provision, with nothing to do."""
    project = provisioned()
    times = []
    for _ in range(7):
        began = time.perf_counter()
        said = project("provision", "local")
        times.append(time.perf_counter() - began)
        if not re.search(r"\b0 changed", said):
            raise SystemExit(f"something changed: {said}")
    times.sort()
    print(f"a second provision of local: median {times[3]:.1f} s, {times[0]:.1f} to {times[-1]:.1f}, n = 7")


@contextmanager
def bare_hosts(count: int) -> Iterator[tuple[Laptop, list[str]]]:
    """So many hosts that lack nothing of the system, without a lab; wheels lie in one place for all."""
    with engine.engine() as client, tempfile.TemporaryDirectory() as folder:
        fleet, laptop = Fleet(client, image.image(client)), Laptop(Path(folder) / "laptop")
        names = [f"gpu{number}" for number in range(count)]
        try:
            for name in names:
                machine = fleet.machine(name)
                laptop.add(machine, name)
                laptop.know(machine)
            yield laptop, names
        finally:
            sweep(client, everything=True)


def bench_fleet() -> None:
    """The light roles on eight hosts at once against one after another (vLLM itself is bound by these two cores)."""
    with bare_hosts(8) as (laptop, names):
        words = (LABCTL, "provision")
        tags = ("--tags", "system_packages")
        seconds(laptop, *words, ",".join(names), *tags)

        def in_a_row() -> float:
            return sum(seconds(laptop, *words, name, *tags) for name in names)

        at_once = compare(lambda: seconds(laptop, *words, ",".join(names), *tags), in_a_row, 5)
    print("eight hosts at once / eight in a row:", at_once)
