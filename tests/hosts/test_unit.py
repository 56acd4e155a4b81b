"""Kept servers as units of a real systemd: they outlive the login, and their run is sealed however they end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import until
from tests.hosts import light_lab
from tests.hosts.laptop import laptop_of
from tests.hosts.systemd import SystemdMachine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.hosts.fleet import Fleet

# They need an image of their own, which takes a minute to make.
pytestmark = pytest.mark.slow

UNIT = "labctl-server-server.service"
KEY = "a-key-that-no-unit-may-show"
SLEEPER = "sleep 98765"


@pytest.fixture(scope="module")
def booted(fleet: Fleet, docker_engine: Any) -> Iterator[SystemdMachine]:
    made = SystemdMachine(docker_engine, "booted", fleet.network)
    light_lab.install(made)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def users(fleet: Fleet, docker_engine: Any) -> Iterator[SystemdMachine]:
    """The lab belongs to a user without rights."""
    made = SystemdMachine(docker_engine, "users", fleet.network, user="lab")
    light_lab.install(made)
    yield made
    made.remove()


def up(host: SystemdMachine) -> tuple[str, ...]:
    return ("up", "server", "--model", light_lab.MODEL, "--host", host.name)


def record_there(host: SystemdMachine, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.read(f"{host.lab_dir}/runs/{run}/record.json"))
    return found


def left(host: SystemdMachine) -> str:
    """Processes of any run."""
    return host.shell("pgrep -af 'labctl[.]runner|[v]llm.entrypoints'", check=False)


def test_a_unit_outlives_the_logins(tmp_path: Path, booted: SystemdMachine) -> None:
    laptop = laptop_of(tmp_path, booted, booted.name)
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o600)
    said = laptop(*up(booted), "--api-key-file", str(file))
    run = laptop.newest().name
    assert f"supervised as systemd's {UNIT}" in said
    who = record_there(booted, run)["supervisor"]
    assert (who["unit"], who["why"]) == (UNIT, None)
    assert booted.shell(f"systemctl show -P MainPID {UNIT}").strip() == str(who["pid"])
    # Neither the unit nor any argument list shows a secret, and the login's environment waits nowhere any more.
    assert KEY not in booted.shell(f"systemctl show {UNIT}; systemctl cat {UNIT}; cat /proc/[0-9]*/cmdline")
    assert booted.shell(f"ls {booted.lab_dir}/secrets").split() == [f"{run}.key"]
    # The end of ssh.service ends all that a login has started, and not the server.
    laptop.ssh(*laptop.to(booted), f"setsid {SLEEPER} < /dev/null > /dev/null 2>&1 &")
    assert booted.shell(f"pgrep -f '^{SLEEPER}'").strip()
    booted.shell("systemctl restart ssh")
    until(lambda: not booted.shell(f"pgrep -f '^{SLEEPER}'", check=False).strip(), within=10)
    assert laptop("ask", "Hi", "--max-tokens", "1", stderr=False) == " t0\n"
    said = laptop("down")
    assert f"run: {run} (stopped)" in said
    assert "0 problems" in laptop("verify", run)
    until(lambda: booted.shell(f"systemctl is-active {UNIT}", check=False).strip() == "inactive", within=10)
    assert left(booted) == ""
    assert booted.shell("systemctl --failed --no-legend") == ""


def test_systemctl_stop_seals_the_run(tmp_path: Path, booted: SystemdMachine) -> None:
    laptop = laptop_of(tmp_path, booted, booted.name)
    laptop(*up(booted))
    run = laptop.newest().name
    booted.shell(f"systemctl stop {UNIT}")
    assert record_there(booted, run)["status"] == "stopped"
    assert left(booted) == ""
    assert "sealed and verified: stopped" in laptop("fetch")
    assert (laptop.newest() / "metrics" / "end.prom").is_file(), "it was asked to end, not killed"


def test_an_engine_that_dies_is_no_end_of_the_unit(tmp_path: Path, booted: SystemdMachine) -> None:
    laptop = laptop_of(tmp_path, booted, booted.name)
    laptop(*up(booted))
    laptop("ask", "please die", code=12)
    until(lambda: json.loads(laptop("ps", "--json", stderr=False))[0]["restarts"] == 1, within=20)
    until(lambda: json.loads(laptop("ps", "--json", stderr=False))[0]["state"] == "ready", within=20)
    pid = record_there(booted, laptop.newest().name)["supervisor"]["pid"]
    booted.shell(f"kill -9 {pid}")
    until(lambda: left(booted) == "", within=10)
    assert "lost" in laptop("fetch")
    laptop(*up(booted))
    assert "(stopped)" in laptop("down")


def test_a_unit_that_cannot_be_had(tmp_path: Path, booted: SystemdMachine) -> None:
    laptop = laptop_of(tmp_path, booted, booted.name)
    booted.shell(f"systemd-run --unit {UNIT} sleep 1000")
    try:
        said = laptop(*up(booted))
        assert "supervised by labctl's runner (systemd-run refused it:" in said
        assert "(stopped)" in laptop("down")
        assert booted.shell(f"ls {booted.lab_dir}/secrets") == ""
    finally:
        booted.shell(f"systemctl stop {UNIT}")


@pytest.mark.slow
def test_a_unit_that_starts_too_slowly(tmp_path: Path, booted: SystemdMachine) -> None:
    laptop = laptop_of(tmp_path, booted, booted.name)
    late = f"{booted.lab_dir}/{light_lab.SITE}/late.pth"
    booted.write(late, b"import sys, time; '--unit' in sys.orig_argv and time.sleep(40)\n")
    try:
        assert "the unit's supervisor said nothing in 30 s and was stopped" in laptop(*up(booted), code=11)
        assert booted.shell(f"systemctl is-active {UNIT}", check=False).strip() == "inactive"
        assert left(booted) == ""
        assert booted.shell(f"ls {booted.lab_dir}/secrets") == ""
    finally:
        booted.shell(f"rm {late}")


def test_a_user_whose_manager_lingers(tmp_path: Path, users: SystemdMachine) -> None:
    laptop = laptop_of(tmp_path, users, users.name)
    said = laptop(*up(users))
    assert "systemd keeps nothing of lab after the login (loginctl enable-linger lab)" in said
    assert "(stopped)" in laptop("down")
    # As logind does for `loginctl enable-linger lab`; it does not run in a container.
    users.shell("mkdir -p /var/lib/systemd/linger; touch /var/lib/systemd/linger/lab; systemctl start user@1000")
    assert f"supervised as systemd's {UNIT}" in laptop(*up(users))
    run = laptop.newest().name
    pid = record_there(users, run)["supervisor"]["pid"]
    assert f"user@1000.service/app.slice/{UNIT}" in users.shell(f"cat /proc/{pid}/cgroup")
    users.shell("systemctl restart ssh")
    assert laptop("ask", "Hi", "--max-tokens", "1", stderr=False) == " t0\n"
    assert f"run: {run} (stopped)" in laptop("down")
    assert left(users) == ""
