"""The line over SSH: run, leave, come back, from here and from elsewhere. The engine is a stand-in (light_lab)."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING

import pytest

from labctl.runner import rundir
from tests.e2e.conftest import until
from tests.hosts import light_lab
from tests.hosts.laptop import laptop_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hosts.laptop import Laptop
    from tests.hosts.machine import Machine

RUN = ("run", "offline", "--model", light_lab.MODEL)
# In each of two passes.
LONG = ("--prompt", "sleep 3", "--repeats", "1")


def started(laptop: Laptop, *words: str) -> str:
    """A run that was left at once."""
    return laptop(*RUN, "--host", "gpu1", "--detach", *words).splitlines()[0]


def test_a_run_comes_home_whole(laptop: Laptop, gpu1: Machine) -> None:
    said = laptop(*RUN, "--host", "gpu1")
    run = laptop.newest()
    assert f"run: {run.name} (ok)" in said
    assert re.search(r"throughput: [\d,.]+ tok/s", said)
    assert (run / "report" / "report.html").is_file()
    assert "0 problems" in laptop("verify")
    there = gpu1.shell(f"cat {gpu1.lab_dir}/runs/{run.name}/SHA256SUMS")
    assert (run / "SHA256SUMS").read_text() == there
    assert json.loads((run / "local" / "origin.json").read_text())["host"] == "gpu1"


def test_another_user_port_shell_noise_and_no_sftp(laptop: Laptop, machine: Callable[..., Machine]) -> None:
    host = machine("odd", user="lab", port=2222, sftp=False, noisy=True)
    light_lab.install(host)
    laptop.add(host, "odd", lab_dir="labctl")
    laptop.know(host)
    assert "(ok)" in laptop(*RUN, "--host", "odd")
    assert "0 problems" in laptop("verify")
    owner = host.shell(f"stat -c %U {host.home}/labctl/runs/{laptop.newest().name}/record.json").strip()
    assert owner == "lab"


def test_many_hosts_at_once_and_one_that_fails(laptop: Laptop, machine: Callable[..., Machine]) -> None:
    two, bare = machine("gpu2"), machine("bare")
    light_lab.install(two)
    for host in (two, bare):
        laptop.add(host, host.name)
        laptop.know(host)
    with laptop.inventory.open("a") as inventory:
        inventory.write("down ansible_host=127.0.0.1 ansible_port=1\n[labs]\ngpu1\ngpu2\n")
    rows = json.loads(laptop(*RUN, "--host", "labs", "--json", stderr=False))
    assert [(row["host"], row["status"], row["code"]) for row in rows] == [("gpu1", "ok", 0), ("gpu2", "ok", 0)]
    said = laptop(*RUN, "--host", "all", code=6)
    assert re.search(r"^gpu1 .* ok ", said, re.MULTILINE)
    assert "labctl: bare: host bare is not provisioned" in said
    assert "labctl provision bare" in said
    assert "labctl: down cannot be reached" in said
    assert len(list(laptop.runs_dir.iterdir())) == 4
    shown = laptop("runs", "--host", "gpu1,gpu2", "--json", stderr=False)
    assert {row["host"] for row in json.loads(shown)} == {"gpu1", "gpu2"}


def test_ctrl_c_leaves_and_every_verb_carries_on(laptop: Laptop) -> None:
    process = laptop.start(*RUN, "--host", "gpu1", *LONG)
    until(lambda: list(laptop.runs_dir.glob("*/record.json")))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    run_id = laptop.newest().name
    assert process.returncode == 130
    assert f"labctl attach {run_id}" in err
    assert "running" in laptop("runs", "--host", "gpu1")
    assert "the run goes on" in laptop("fetch", run_id)
    followed = laptop.start("logs", "-f", run_id)
    assert f"run: {run_id} (ok)" in laptop("attach", run_id)
    log, _ = followed.communicate(timeout=20)
    assert followed.returncode == 0
    assert log == (laptop.newest() / rundir.ENGINE_LOG).read_text()


def test_stop_from_elsewhere(laptop: Laptop, gpu1: Machine, tmp_path: Path) -> None:
    run_id = started(laptop, "--prompt", "sleep 60")
    other = laptop_of(tmp_path / "other", gpu1, "rented")
    assert re.search(rf"^{run_id} +rented +running", other("runs", "--host", "rented"), re.MULTILINE)
    said = other("stop", run_id, "--host", "rented")
    assert f"run: {run_id} (stopped)" in said
    assert "0 problems" in other("verify", run_id)
    assert "(stopped)" in laptop("attach", run_id, code=1)
    mine, theirs = (one.runs_dir / run_id / "SHA256SUMS" for one in (laptop, other))
    assert mine.read_bytes() == theirs.read_bytes()


def test_two_laptops_and_one_host(laptop: Laptop, gpu1: Machine, tmp_path: Path) -> None:
    other = laptop_of(tmp_path / "other", gpu1)
    run_id = started(laptop, *LONG)
    until(lambda: gpu1.shell(f"cat {gpu1.lab_dir}/runs/{run_id}/events.jsonl", check=False).count("warmup"))
    said = other(*RUN, "--host", "gpu1", code=1)
    assert f"cpu is held by run {run_id}" in said
    both = [other.start("attach", run_id, "--host", "gpu1"), laptop.start("attach", run_id)]
    for process in both:
        out, err = process.communicate(timeout=30)
        assert (process.returncode, f"run: {run_id} (ok)" in out) == (0, True), err
    assert "0 problems" in other("verify", run_id)


def test_many_labctls_in_one_project_take_turns(laptop: Laptop) -> None:
    run_id = started(laptop, "--prompt", "lines 3000", "--repeats", "1")
    verbs = [("attach", run_id)] * 4 + [("logs", "-f", run_id)] * 2 + [("fetch", run_id)]
    for process in [laptop.start(*verb) for verb in verbs]:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out[-500:] + err
    assert "0 problems" in laptop("verify", run_id)


def test_a_lab_that_moved_since(laptop: Laptop, gpu1: Machine) -> None:
    run_id = started(laptop, "--prompt", "sleep 60")
    laptop.inventory.write_text(laptop.inventory.read_text().replace(gpu1.lab_dir, "/srv/elsewhere"))
    assert f"run: {run_id} (stopped)" in laptop("stop", f"runs/{run_id}")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("rm {lab}/lab.json", "is not provisioned"),
        ("echo '{{' > {lab}/lab.json", "lab.json is broken"),
        ('sed -i \'s/"runner": "/&0/\' {lab}/lab.json', "has runner 0"),
        ("rm {lab}/env/bin/python", "has lost its environment"),
    ],
)
def test_a_host_that_is_not_ready_names_its_cure(
    laptop: Laptop, machine: Callable[..., Machine], harm: str, words: str
) -> None:
    host = machine("unready")
    lab = light_lab.install(host)
    laptop.add(host, "unready")
    laptop.know(host)
    host.shell(harm.format(lab=lab))
    said = laptop(*RUN, "--host", "unready", code=6)
    assert words in said
    assert "labctl provision unready" in said
    assert not laptop.runs_dir.exists()
    assert host.shell(f"ls {lab}/runs") == ""


def test_a_host_without_python(laptop: Laptop, machine: Callable[..., Machine]) -> None:
    host = machine("nopython", python=False)
    laptop.add(host, "nopython")
    laptop.know(host)
    assert "is not provisioned" in laptop(*RUN, "--host", "nopython", code=6)
    assert "nopython has no runs" in laptop("runs", "--host", "nopython")
    said = laptop("doctor", "--host", "nopython", code=1)
    assert "no Python" in said
    assert "apt-get install" in said
    # Its packages say that there is one; without them, provision installs it.
    assert "apt-get install python3" in laptop("provision", "nopython", code=7)
    names = "dpkg-query --show --showformat='${Package}\\n' 'python3*' 'libpython3*' | xargs dpkg --force-all --purge"
    # Scripts that want the Python that is gone stand in the way.
    host.shell(f"find /var/lib/dpkg/info -name '*python3*rm' -delete; {names}")
    assert "Install a Python for Ansible" in laptop("provision", "nopython", "--tags", "system_packages", timeout=600)
    assert "package python3" in host.shell(f"cat {host.lab_dir}/placed/*.txt")
