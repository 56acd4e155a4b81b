"""A provision that is stopped in the midst of installing the real vLLM, by four causes, and the one that repairs it."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import ROOT, provisioned, until
from tests.hosts.laptop import laptop_of
from tests.hosts.test_engine import SHARED, pip_conf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hosts.fleet import Fleet
    from tests.hosts.laptop import Laptop
    from tests.hosts.machine import Machine

# A disk of its own, in memory: first too small for the environment (3 GiB), then large enough.
DISK, SMALL, LARGE = "/srv/lab", "700m", "9g"
INSTALLING = "pgrep -f 'pip [s]ync'"


@pytest.fixture(scope="module")
def host(fleet: Fleet) -> Iterator[Machine]:
    """A host whose lab lies on the small disk; the wheels lie on another, so that nothing is downloaded twice."""
    provisioned()
    text, folders = pip_conf()
    binds = (f"{ROOT}/.labctl:{SHARED}", *(f"{folder}:{folder}:ro" for folder in folders))
    made = fleet.machine("broken", tmpfs={DISK: SMALL}, binds=binds)
    made.write("/etc/pip.conf", text.encode())
    yield made
    made.remove()


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory, host: Machine) -> Laptop:
    cache = f"{SHARED}/{(provisioned().lab_dir / 'cache' / 'uv').relative_to(ROOT / '.labctl')}"
    # The gate that would refuse such a disk at once is lowered: what is tested is a disk that fills up later.
    room = {"cpu": 0.1, "cuda": 0.1, "existing": 0.1}
    folder = tmp_path_factory.mktemp("broken")
    return laptop_of(folder, host, lab_dir=f"{DISK}/lab", python_env_cache=cache, preflight_free_gib=room)


def grow(host: Machine) -> None:
    host.container.reload()
    inside = ["nsenter", "-t", str(host.container.attrs["State"]["Pid"]), "-m"]
    subprocess.run([*inside, "mount", "-o", f"remount,size={LARGE}", DISK], check=True)


def installing(host: Machine) -> bool:
    return bool(host.shell(INSTALLING, check=False).strip())


@pytest.mark.slow
def test_a_provision_that_breaks_four_times_is_repaired_by_the_next(laptop: Laptop, host: Machine) -> None:
    said = laptop("provision", "gpu1", code=7, timeout=600)
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert "is not provisioned" in laptop("run", "offline", "--host", "gpu1", code=6)
    grow(host)

    process = laptop.start("provision", "gpu1")
    until(lambda: installing(host))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    until(lambda: not installing(host), within=20)

    process = laptop.start("provision", "gpu1")
    until(lambda: installing(host))
    host.restart_sshd(kill_sessions=True)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 4, out + err
    until(lambda: not installing(host), within=60)

    process = laptop.start("provision", "gpu1")
    until(lambda: installing(host))
    process.kill()
    process.communicate(timeout=60)
    until(lambda: not installing(host), within=120)

    laptop("provision", "gpu1", timeout=600)
    assert json.loads(host.read(f"{DISK}/lab/lab.json"))["vllm"] == "0.32.0"
    host.shell(f"{DISK}/lab/env/bin/python -I -c 'import vllm, labctl.runner'")
    assert ", 0 changed" in laptop("provision", "gpu1")
