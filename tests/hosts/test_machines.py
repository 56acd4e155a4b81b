"""The test hosts themselves: what other tests build on must be true."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from labctl.runner import spec, workloads
from tests.e2e.conftest import until
from tests.hosts import light_lab
from tests.hosts.laptop import Laptop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hosts.fleet import Fleet
    from tests.hosts.machine import Machine
    from tests.hosts.network import Network


def test_ssh_reaches_a_host_whose_key_is_known(laptop: Laptop, gpu1: Machine) -> None:
    assert laptop.ssh(*laptop.to(gpu1), "hostname; id -un").split() == ["gpu1", "root"]


def test_an_unknown_or_changed_key_is_refused(tmp_path: Path, machine: Callable[..., Machine]) -> None:
    host, laptop = machine(port=2222), Laptop(tmp_path / "laptop")
    laptop.add(host)
    assert "Host key verification failed" in laptop.ssh(*laptop.to(host), "true", code=255)
    laptop.know(host)
    assert laptop.ssh(*laptop.to(host), "echo in") == "in\n"
    before = host.host_key_fingerprint()
    host.new_host_key()
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in laptop.ssh(*laptop.to(host), "true", code=255)
    assert host.host_key_fingerprint() != before


def test_a_key_that_lies_only_in_an_agent(laptop: Laptop, gpu1: Machine) -> None:
    with laptop.agent():
        assert not laptop.key.exists()
        assert laptop.ssh(*laptop.to(gpu1), "echo in") == "in\n"
    assert laptop.key.exists()


def test_a_line_that_is_cut_stalls_and_comes_back(laptop: Laptop, machine: Callable[..., Machine]) -> None:
    host = machine("cut")
    laptop.add(host, "cut")
    laptop.know(host)
    command = ["ssh", *laptop.to(host), "while :; do date +%s.%N; sleep 0.1; done"]
    with subprocess.Popen(command, env=laptop.env, stdout=subprocess.PIPE, text=True) as line:
        assert line.stdout is not None
        line.stdout.readline()
        host.cut()
        with pytest.raises(AssertionError):
            until(host._greets, within=1.5)
        assert line.poll() is None
        host.mend()
        mended = time.time()
        until(lambda: float(line.stdout.readline()) > mended, within=20)  # type: ignore[union-attr]
        line.terminate()


def test_a_restart_of_sshd_keeps_or_kills_sessions(laptop: Laptop, machine: Callable[..., Machine]) -> None:
    host = machine("restarted")
    laptop.add(host, "restarted")
    laptop.know(host)
    with subprocess.Popen(
        ["ssh", *laptop.to(host), "echo up; exec sleep 60"], env=laptop.env, stdout=subprocess.PIPE
    ) as line:
        assert line.stdout is not None
        line.stdout.readline()
        host.restart_sshd()
        assert laptop.ssh(*laptop.to(host), "echo in") == "in\n"
        assert line.poll() is None
        host.restart_sshd(kill_sessions=True)
        assert line.wait(timeout=10) == 255
        assert host.shell("pgrep -x sleep", check=False), "what a session started lives on"


def test_a_host_switched_off_and_on_keeps_its_address_and_disk(laptop: Laptop, machine: Callable[..., Machine]) -> None:
    host = machine("off")
    laptop.add(host, "off")
    laptop.know(host)
    host.write("/root/kept", b"kept")
    host.stop()
    assert not host._greets()
    host.start()
    assert laptop.ssh(*laptop.to(host), "cat kept") == "kept"


def test_a_host_behind_a_jump_host(
    laptop: Laptop, inner_network: Network, fleet: Fleet, machine: Callable[..., Machine]
) -> None:
    jump = machine("jump", networks=[fleet.network, inner_network])
    inner = machine("inner", networks=[inner_network], only_from=jump.address_on(inner_network))
    for host in (jump, inner):
        laptop.add(host, host.name)
        laptop.know(host)
    assert "No route to host" in laptop.ssh(*laptop.to(inner), "true", code=255)
    laptop.configure(f"Host inner\n HostName {inner.address}\n User root\n ProxyJump root@{jump.address}\n")
    assert laptop.ssh("inner", "hostname") == "inner\n"


def test_a_user_with_sudo_by_password_and_no_sftp(laptop: Laptop, machine: Callable[..., Machine]) -> None:
    host = machine(user="lab", sudo="password", sftp=False, noisy=True, tmpfs={"/small": "1m"})
    laptop.add(host, "lab")
    laptop.know(host)
    to = laptop.to(host)
    assert "Welcome" in laptop.ssh(*to, "true")
    assert laptop.ssh(*to, "sudo -S -p '' id -u", stdin="secret\n").endswith("0\n")
    assert "password is required" in laptop.ssh(*to, "sudo -n true", code=1)
    assert "subsystem request failed" in laptop.ssh(*to, "-s", "sftp", code=255)
    assert "No space left" in laptop.ssh(*to, "head -c 2M /dev/zero > /small/much", code=1)


def test_a_host_without_sudo_or_python(laptop: Laptop, machine: Callable[..., Machine]) -> None:
    host = machine(user="lab", sudo="gone", python=False)
    laptop.add(host, "bare")
    laptop.know(host)
    assert laptop.ssh(*laptop.to(host), "command -v sudo python3 python3.11", code=1) == ""


def test_a_clock_that_is_an_hour_off(laptop: Laptop, machine: Callable[..., Machine]) -> None:
    host = machine(clock=3600)
    laptop.add(host, "late")
    laptop.know(host)
    ahead = int(laptop.ssh(*laptop.to(host), "date +%s")) - time.time()
    assert ahead == pytest.approx(3600, abs=5)


def test_a_light_lab_runs_over_ssh_to_a_throughput(laptop: Laptop, gpu1: Machine) -> None:
    work = workloads.Prompts(prompts=("sleep 1", "bytes 4000 escape", "lines 50"), warmup=1, repeats=1)
    asked = spec.RunSpec(lab="offline", model=light_lab.MODEL, workload=work, sampling={"max_tokens": 32})
    run_dir = f"{gpu1.lab_dir}/runs/first"
    gpu1.write(f"{run_dir}/spec.json", asked.to_json().encode())
    assert laptop.ssh(*laptop.to(gpu1), f"{gpu1.lab_dir}/env/bin/python -I -m labctl.runner {run_dir}") == ""
    until(lambda: gpu1.shell(f"ls {run_dir}/SHA256SUMS", check=False).startswith(run_dir), within=30)
    record = json.loads(gpu1.read(f"{run_dir}/record.json"))
    assert record["status"] == "ok", record["error"]
    assert record["metrics"]["throughput"]["value"] > 0
    assert b"\x1b]52;" in gpu1.read(f"{run_dir}/logs/engine.log")
    gpu1.shell(f"rm -r {run_dir}")
