"""Verdicts over facts: each check can be ok, and each can complain with a command that fits the very host."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from labctl import assets, doctor, runner_wheel
from labctl.doctor import causes, lab

GIB = 1024**3
CAPTURED = json.loads((Path(__file__).parents[1] / "data" / "probe-h100" / "facts.json").read_text())
PLAIN: dict[str, Any] = {
    "schema": 2,
    "by": "python",
    "hostname": "box",
    "os": {"id": "debian", "like": [], "version": "12", "name": "Debian GNU/Linux 12 (bookworm)"},
    "arch": "x86_64",
    "libc": {"name": "glibc", "version": "2.36"},
    "python": {"version": "3.11.7", "executable": "/usr/bin/python3"},
    "pythons": [
        {
            "executable": "/usr/bin/python3.11", "base": "/usr/bin/python3.11", "prefix": "/usr", "version": "3.11",
            "full": "3.11.7", "headers": True, "venv": True, "whole": True, "torch": None, "packages": {},
        }
    ],
    "user": {"name": "me", "uid": 1000, "home": "/home/me", "sudo": "free"},
    "systemd": True,
    "container": None,
    "logind": {"kill_user_processes": False, "linger": False},
    "package_manager": "apt-get",
    "docker": {"program": None, "answers": False, "room": True},
    "libnuma": "libnuma.so.1",
    "lscpu": True,
    "compiler": {"cxx": "/usr/bin/g++", "headers": "/usr/include/python3.11/Python.h"},
    "disk": {"path": "/home/me", "free": 50 * GIB},
    "memory": {"available": 20 * GIB, "cgroup_limit": None},
    "shm": {"total": 2 * GIB},
    "gpus": [],
    "nvidia": {"pci": [], "nvml": None, "nouveau": False, "secure_boot": False, "xid": [], "fabric": {"needed": False}},
    "network": {
        "index": {"endpoint": "https://index.example", "answers": True, "why": None},
        "hub": {"endpoint": "https://hub.example", "answers": True, "why": None},
    },
    "ports": {"8000": True},
    "clock": {"offset": 0.0, "within": 0.7},
    "lab": {
        "dir": "/home/me/labctl",
        "uv": "0.13.9",
        "card": {"vllm": "0.32.0", "variant": "cpu", "runner": runner_wheel.version(), "python": "/x"},
        "whole": True,
        "env": {"python": "3.11", "stamp": "x", "packages": [], "runner": None},
    },
}  # fmt: skip
GPU = {
    "index": "0", "name": "NVIDIA H100 80GB HBM3", "uuid": "GPU-0000...", "driver_version": "580.95.05",
    "memory.total": "81559", "compute_cap": "9.0", "vbios_version": "96",
}  # fmt: skip
NVIDIA: dict[str, Any] = {
    "pci": [{"address": "0000:3b:00.0", "device": "2330", "kind": "gpu"}],
    "nvml": {"code": 0, "name": "Success"},
    "library": "580.95.05",
    "driver": "580.95.05",
    "cuda": "13.0",
    "module": {"version": "580.95.05", "open": True, "loaded": True},
    "cuinit": 0,
    "smi": "/usr/bin/nvidia-smi",
    "nouveau": False,
    "secure_boot": False,
    "module_signed": True,
    "fabric": {"needed": False, "manager": "absent", "version": None, "state": "not supported"},
    "xid": [],
}
WITH_GPU = {**PLAIN, "gpus": [GPU], "nvidia": NVIDIA}
SWITCH = {"address": "0000:86:00.0", "device": "22a3", "kind": "nvswitch"}
READY = {"version": "580.95.05", "open": True, "loaded": False}


def changed(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The facts with some of them changed, by their dotted paths."""
    facts = deepcopy(base)
    for path, value in change.items():
        *steps, last = path.split("/")
        place = facts
        for step in steps:
            place = place[step]
        place[last] = value
    return facts


def verdict(check: str, facts: dict[str, Any]) -> doctor.Verdict:
    found = [one for one in doctor.verdicts(facts, "gpu1") if one.check == check]
    assert len(found) == 1, (check, found)
    return found[0]


@pytest.mark.parametrize("facts", [PLAIN, WITH_GPU], ids=["no GPU", "GPU"])
def test_a_fit_host_fails_no_check(facts: dict[str, Any]) -> None:
    levels = {one.check: one.level for one in doctor.verdicts(facts, "gpu1")}
    assert {check for check, level in levels.items() if level != "ok"} <= ({"gpu"} if facts is PLAIN else set())
    assert doctor.judge(facts, "gpu1")["failures"] == []


def test_a_real_container_with_an_h100() -> None:
    told = doctor.judge(CAPTURED, "gpu1")
    assert told["failures"] == ["provisioned"]
    for word in (
        "container",
        "GPU",
        "driver 580.159.04",
        "no systemd",
        "no docker",
        "root",
        "air-gapped",
        "PyTorch 2.11.0",
    ):
        assert word in told["sentence"]
    levels = {check["check"]: check["level"] for check in told["checks"]}
    assert (levels["driver"], levels["cuda"], levels["bf16"], levels["xid"]) == ("ok", "ok", "ok", "ok")
    assert (levels["index"], levels["hub"]) == ("warn", "warn")


# A check, a change that it complains of, how badly, and a word of the command that cures it (on this very host).
COMPLAINTS: list[tuple[str, dict[str, Any], str, str]] = [
    ("python", {"python/version": "3.9.18", "pythons": []}, "warn", ""),
    ("python", {"python/version": "what", "pythons": []}, "warn", ""),
    ("python", {"python/version": "3.6.8", "pythons": []}, "fail", "sudo apt-get install -y python3.8"),
    ("python", {"python": None, "pythons": [], "by": "shell"}, "fail", "sudo apt-get install -y python3"),
    ("sudo", {"user/sudo": "password"}, "warn", "labctl provision gpu1 --ask-become-pass"),
    ("sudo", {"user/sudo": "none"}, "warn", ""),
    ("sudo", {"user/sudo": None}, "warn", ""),
    ("libnuma", {"libnuma": None}, "fail", "sudo apt-get install -y libnuma1"),
    ("lscpu", {"lscpu": False}, "fail", "util-linux"),
    ("compiler", {"compiler/cxx": None}, "warn", "g++"),
    ("compiler", {"compiler/headers": None}, "warn", "python3-dev"),
    ("disk", {"disk/free": GIB // 2}, "fail", "df -h /home/me"),
    ("disk", {"disk/free": None}, "warn", ""),
    ("memory", {"memory/cgroup_limit": 2 * GIB}, "warn", ""),
    ("memory", {"memory/available": None}, "warn", ""),
    ("shm", {"shm/total": 64 * 1024**2}, "fail", "sudo mount -o remount"),
    ("shm", {"shm/total": 64 * 1024**2, "container": "docker"}, "fail", "--shm-size"),
    ("port", {"ports/8000": False}, "warn", "sudo ss -ltnp"),
    ("port", {"ports/8000": None}, "warn", ""),
    ("logout", {"logind/kill_user_processes": True}, "fail", "sudo loginctl enable-linger me"),
    ("clock", {"clock/offset": 31.0}, "warn", "sudo timedatectl set-ntp true"),
    ("clock", {"clock/offset": -86400.0}, "fail", "timedatectl"),
    ("gpu", {}, "warn", ""),
    ("index", {"network/index/answers": False}, "warn", "labctl bundle --for gpu1"),
    ("hub", {"network/hub/answers": False}, "warn", "HF_ENDPOINT"),
    ("plan", {"arch": "riscv64"}, "fail", ""),
    ("provisioned", {"lab/card": None}, "fail", "labctl provision gpu1"),
    ("provisioned", {"lab/card/runner": "0.0.1+rold"}, "fail", "labctl provision gpu1"),
    ("provisioned", {"lab/whole": False}, "fail", "labctl provision gpu1"),
]
GPU_COMPLAINTS: list[tuple[str, dict[str, Any], str, str]] = [
    ("gpu", {"gpus": [], "nvidia/nvml": {"code": 18, "name": "x"}}, "fail", ""),
    ("gpu", {"gpus": [], "nvidia/nvml": None, "container": "docker"}, "warn", "docker run --gpus all"),
    ("gpu", {"nvidia/pci": [NVIDIA["pci"][0], NVIDIA["pci"][0]]}, "warn", "dmesg"),
    ("driver", {"gpus": [], "nvidia/nvml": {"code": 18, "name": "x"}}, "fail", "sudo reboot"),
    ("driver", {"gpus": [], "nvidia/nvml": {"code": 9, "name": "x"}}, "fail", "sudo modprobe nvidia"),
    ("driver", {"gpus": [], "nvidia/nvml": {"code": 999, "name": "x"}}, "fail", "modprobe nvidia-uvm"),
    ("driver", {"gpus": [], "nvidia/nvml": {"code": None, "name": "no answer in 3 s"}}, "fail", "reboot"),
    ("driver", {"gpus": [], "nvidia/nvml": {"code": 999, "name": "x"}, "container": "docker"}, "fail", "nvidia-smi"),
    ("driver", {"gpus": [], "nvidia/nvml": None, "nvidia/driver": None, "nvidia/module": {}}, "fail", "provision gpu1"),
    ("driver", {"gpus": [], "nvidia/nvml": None, "nvidia/module": READY}, "fail", "modprobe nvidia"),
    ("driver", {"gpus": [], "nvidia/nvml": None, "container": "docker"}, "warn", ""),
    ("nouveau", {"nvidia/nouveau": True, "nvidia/module": READY}, "fail", "sudo sh -c 'echo "),
    (
        "secure-boot",
        {"nvidia/secure_boot": True, "nvidia/module": READY, "nvidia/module_signed": False},
        "fail",
        "mokutil",
    ),
    ("secure-boot", {"nvidia/secure_boot": True, "nvidia/module": READY}, "warn", "sudo mokutil --import"),
    (
        "secure-boot",
        {"nvidia/secure_boot": True, "nvidia/module": {}, "nvidia/module_signed": None},
        "warn",
        "provision",
    ),
    (
        "fabric",
        {"nvidia/pci": [SWITCH], "nvidia/fabric": {"needed": True, "manager": "absent"}},
        "fail",
        "=580.95.05-*",
    ),
    ("fabric", {"nvidia/fabric": {"needed": True, "manager": "inactive"}}, "fail", "systemctl enable --now"),
    (
        "fabric",
        {"nvidia/fabric": {"needed": True, "manager": "active", "version": "580.65.06"}},
        "fail",
        "nvidia-fabricmanager-580=580.95.05",
    ),
    ("fabric", {"nvidia/fabric": {"needed": True, "manager": None}}, "warn", ""),
    ("fabric", {"nvidia/fabric": {"needed": True}, "container": "docker", "nvidia/cuinit": 802}, "warn", ""),
    ("fabric", {"nvidia/fabric": {"needed": False, "state": "in progress"}}, "fail", "nvidia-smi -q"),
    ("cuda", {"nvidia/cuinit": 802}, "fail", "sudo systemctl enable --now nvidia-fabricmanager"),
    ("cuda", {"nvidia/cuinit": 803}, "fail", "sudo reboot"),
    ("cuda", {"nvidia/cuinit": 803, "container": "docker"}, "fail", "ldconfig -p"),
    ("cuda", {"nvidia/cuinit": 804}, "fail", "LD_LIBRARY_PATH"),
    ("cuda", {"nvidia/cuinit": 46}, "fail", ""),
    ("cuda", {"nvidia/cuinit": None}, "warn", ""),
    ("bf16", {"gpus": [{**GPU, "compute_cap": "7.5"}, GPU]}, "warn", "--engine dtype=float16"),
    ("bf16", {"gpus": [{**GPU, "compute_cap": None}]}, "warn", ""),
    ("xid", {"nvidia/xid": [{"code": 13, "count": 2, "last": "x"}]}, "warn", "dmesg"),
    ("xid", {"nvidia/xid": [{"code": 13, "count": 1}, {"code": 79, "count": 1}]}, "fail", "dmesg"),
    ("xid", {"nvidia/xid": [{"code": 4711, "count": 1}]}, "warn", "dmesg"),
    ("xid", {"nvidia/xid": None}, "warn", "sudo dmesg"),
    ("plan", {"nvidia/driver": "450.80.02", "gpus": [{**GPU, "driver_version": "450.80.02"}]}, "fail", ""),
]
CASES = [(PLAIN, *row) for row in COMPLAINTS] + [(WITH_GPU, *row) for row in GPU_COMPLAINTS]


@pytest.mark.parametrize(("base", "check", "change", "level", "fix"), CASES)
def test_each_check_can_complain(
    base: dict[str, Any], check: str, change: dict[str, Any], level: str, fix: str
) -> None:
    found = verdict(check, changed(base, change))
    assert found.level == level, found
    assert found.meaning
    assert fix in found.fix


def test_the_cases_cover_every_check() -> None:
    checks = {one.check for facts in (PLAIN, WITH_GPU) for one in doctor.verdicts(facts, "gpu1")}
    assert checks | {"fabric"} == {row[0] for row in (*COMPLAINTS, *GPU_COMPLAINTS)}


def test_a_mismatch_names_both_versions() -> None:
    facts = changed(WITH_GPU, {"gpus": [], "nvidia/nvml": {"code": 18, "name": "x"}, "nvidia/library": "580.159.04"})
    said = verdict("driver", facts).meaning
    assert "module 580.95.05, libraries 580.159.04" in said
    assert "unattended" in said


def test_commands_fit_the_host() -> None:
    facts = changed(PLAIN, {"libnuma": None})
    assert verdict("libnuma", changed(facts, {"user/sudo": "root"})).fix == "apt-get install -y libnuma1"
    assert verdict("libnuma", changed(facts, {"package_manager": "dnf"})).fix == "sudo dnf install -y numactl-libs"
    assert verdict("libnuma", changed(facts, {"user/sudo": "none"})).fix == "su -c 'apt-get install -y libnuma1'"
    assert verdict("libnuma", changed(facts, {"package_manager": None})).fix == ""


def test_a_gpu_host_needs_no_libnuma() -> None:
    checks = {one.check for one in doctor.verdicts(changed(WITH_GPU, {"lab/card": None}), "gpu1")}
    assert not checks & {"libnuma", "lscpu"}


def test_more_disk_is_needed_before_a_lab_is_there() -> None:
    facts = changed(PLAIN, {"disk/free": 2 * GIB})
    assert verdict("disk", facts).level == "ok"
    assert verdict("disk", changed(facts, {"lab/card": None})).level == "fail"
    gpu = changed(WITH_GPU, {"disk/free": 8 * GIB, "lab/card": None})
    assert verdict("disk", gpu).level == "fail"


@pytest.mark.parametrize("change", [{"user/sudo": "root"}, {"logind/linger": True}])
def test_who_outlives_the_log_out(change: dict[str, Any]) -> None:
    assert verdict("logout", changed(PLAIN, {"logind/kill_user_processes": True, **change})).level == "ok"


def test_wishes_that_no_plan_fits_are_a_failure() -> None:
    found = [one for one in doctor.verdicts(PLAIN, "gpu1", {"vllm_variant": "cuda"}) if one.check == "plan"]
    assert found[0].level == "fail"
    assert "vllm_variant is cuda" in found[0].meaning


def test_what_a_record_or_a_saved_file_does_not_hold_is_not_judged() -> None:
    facts = {key: value for key, value in PLAIN.items() if key not in {"network", "ports", "clock"}}
    assert not {one.check for one in doctor.verdicts(facts, "x")} & {"index", "hub", "port", "clock"}


def test_causes_name_the_codes_of_nvidias_documents() -> None:
    assert causes.cuda(802).name == "CUDA_ERROR_SYSTEM_NOT_READY"
    assert causes.nvml(18).name == "NVML_ERROR_LIB_RM_VERSION_MISMATCH"
    assert causes.broken(79)
    assert not causes.broken(31)
    assert "see" in causes.cuda(4711).meaning


def test_what_facts_hold_is_quoted_in_a_command() -> None:
    bad = "/x; id #"
    low = changed(PLAIN, {"disk/path": bad, "disk/free": 0, "user/name": bad, "logind/kill_user_processes": True})
    assert verdict("disk", low).fix.startswith("df -h '/x; id #'  # free")
    assert verdict("logout", changed(low, {"user/name": "a$(id)"})).fix == "sudo loginctl enable-linger 'a$(id)'"
    fabric = {"needed": True, "manager": "absent", "version": None, "state": None}
    facts = changed(WITH_GPU, {"nvidia/fabric": fabric, "nvidia/driver": "580'; id #"})
    assert verdict("fabric", facts).fix == "labctl provision gpu1 --driver"


def test_the_room_that_doctor_asks_for_is_the_one_that_the_role_asks_for() -> None:
    path = assets.folder("ansible") / "roles" / "preflight" / "defaults" / "main.yml"
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["preflight_free_gib"] == lab._ROOM
