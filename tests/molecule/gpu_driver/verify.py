"""The driver's packages, on a host with made-up facts and packages without content: choice, pin, hold, services."""

from __future__ import annotations

from typing import Any


def _installed(host: Any) -> dict[str, str]:
    rows = host.check_output("dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\\n'").splitlines()
    return {name: version for state, name, version in (row.split() for row in rows) if state[1] == "i"}


def test_the_newest_of_the_branch_is_installed_and_nothing_of_a_later_one(host: Any) -> None:
    found = _installed(host)
    parts = ("nvidia-driver-cuda", "libcuda1", "nvidia-kernel-open-dkms", "nvidia-persistenced")
    assert {name: found.get(name) for name in parts} == dict.fromkeys(parts, "580.95.05-1")
    assert "nvidia-kernel-dkms" not in found
    assert not [name for name, version in found.items() if version.startswith("590")]


def test_headers_of_the_running_kernel_and_of_the_next(host: Any) -> None:
    assert {"linux-headers-6.1.0-0-test", "linux-headers-test"} <= _installed(host).keys()


def test_what_debian_keeps_in_contrib_came_from_there(host: Any) -> None:
    assert "update-glx" in _installed(host)


def test_the_fabric_manager_is_of_exactly_the_drivers_release(host: Any) -> None:
    found = _installed(host)
    assert found["nvidia-fabricmanager-580"] == "580.95.05-1"
    assert "nvidia-fabricmanager" not in found


def test_an_upgrade_that_nobody_asked_for_changes_nothing(host: Any) -> None:
    said = host.check_output("apt-get --simulate dist-upgrade -o Dir::Etc::preferencesparts=/nonexistent")
    assert "kept back" in said or "0 upgraded" in said
    assert not [line for line in said.splitlines() if line.startswith("Inst") and "nvidia" in line]


def test_the_ledger_names_what_was_put_there(host: Any) -> None:
    lines = host.file("/root/labctl/placed/gpu_driver.txt").content_string.splitlines()
    assert {"package nvidia-driver-cuda", "package nvidia-fabricmanager-580", "hold libcuda1"} <= set(lines)
    assert "service nvidia-fabricmanager" in lines
    assert "package gpg" not in lines
    assert len(lines) == len(set(lines))
