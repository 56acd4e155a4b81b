from __future__ import annotations

from typing import Any

import pytest

from labctl import doctor, runner_wheel

GIB = 1024**3
GOOD: dict[str, Any] = {
    "python": {"version": "3.11.7"},
    "libnuma": "libnuma.so.1",
    "lscpu": True,
    "hub": {"endpoint": "https://hub.example", "answers": True, "why": None},
    "compiler": {"cxx": "/usr/bin/g++", "headers": "/usr/include/python3.11/Python.h"},
    "disk": {"free": 50 * GIB},
    "memory": {"available": 20 * GIB, "cgroup_limit": None},
    "shm": {"total": 2 * GIB},
    "gpus": [],
}
LAB: dict[str, Any] = {"vllm": "0.32.0", "variant": "cpu", "runner": runner_wheel.version()}


def verdict(check: str, facts: dict[str, Any], lab: dict[str, Any] | None = LAB) -> doctor.Verdict:
    return next(v for v in doctor.verdicts(facts, lab, "gpu1") if v.check == check)


def test_a_fit_host_passes_every_check() -> None:
    assert {v.level for v in doctor.verdicts(GOOD, LAB, "local")} == {"ok"}


@pytest.mark.parametrize(
    ("check", "change", "level"),
    [
        ("python", {"python": {"version": "3.9.18"}}, "warn"),
        ("python", {"python": {"version": "what"}}, "warn"),
        ("libnuma", {"libnuma": None}, "fail"),
        ("lscpu", {"lscpu": False}, "fail"),
        ("hub", {"hub": {"endpoint": "https://hub.example", "answers": False, "why": "refused"}}, "warn"),
        ("compiler", {"compiler": {"cxx": None, "headers": "/x"}}, "warn"),
        ("compiler", {"compiler": {"cxx": "/x", "headers": None}}, "warn"),
        ("disk", {"disk": {"free": GIB // 2}}, "fail"),
        ("disk", {"disk": {"free": None}}, "warn"),
        ("memory", {"memory": {"available": 20 * GIB, "cgroup_limit": 2 * GIB}}, "warn"),
        ("shm", {"shm": {"total": 64 * 1024**2}}, "fail"),
        ("gpu", {"gpus": [{"name": "NVIDIA H100 80GB HBM3"}]}, "ok"),
    ],
)
def test_each_check_can_fail(check: str, change: dict[str, Any], level: str) -> None:
    found = verdict(check, {**GOOD, **change})
    assert found.level == level
    assert found.meaning


def test_a_host_that_is_not_provisioned_needs_more_disk() -> None:
    assert verdict("disk", {**GOOD, "disk": {"free": 2 * GIB}}).level == "ok"
    assert verdict("disk", {**GOOD, "disk": {"free": 2 * GIB}}, None).level == "fail"


def test_a_gpu_host_needs_no_libnuma() -> None:
    checks = {v.check for v in doctor.verdicts(GOOD, {**LAB, "variant": "cuda"}, "gpu1")}
    assert not checks & {"libnuma", "lscpu"}


def test_an_environment_that_is_gone_is_seen() -> None:
    found = [v for v in doctor.verdicts(GOOD, LAB, "gpu1", whole=False) if v.check == "provisioned"]
    assert (found[0].level, found[0].fix) == ("fail", "labctl provision gpu1")


def test_what_fails_names_its_cure() -> None:
    assert verdict("libnuma", {**GOOD, "libnuma": None}).fix == "apt-get install libnuma1"
    assert verdict("provisioned", GOOD, None).fix == "labctl provision gpu1"
    assert verdict("provisioned", GOOD, {**LAB, "runner": "0.0.1+rold"}).level == "fail"


def test_no_facts_at_all_is_no_crash() -> None:
    levels = {v.check: v.level for v in doctor.verdicts({}, None, "x")}
    assert levels["disk"] == "warn"
    assert levels["python"] == "warn"
