from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from labctl import plan


def python(version: str = "3.12", **change: Any) -> dict[str, Any]:
    name = f"/usr/bin/python{version}"
    row = {"executable": name, "base": name, "version": version, "headers": True, "venv": True, "whole": True}
    return {**row, "torch": None, "packages": {}, **change}


def torch(version: str, cuda: str | None, **change: Any) -> dict[str, Any]:
    place = "/opt/torch/.venv/bin/python3"
    return python(executable=place, torch={"version": version, "cuda": cuda}, packages={"torch": version}, **change)


VM: dict[str, Any] = {
    "schema": 2,
    "hostname": "vm",
    "os": {"id": "debian", "version": "12", "name": "Debian GNU/Linux 12"},
    "kernel": "6.1.0",
    "arch": "x86_64",
    "libc": {"name": "glibc", "version": "2.36"},
    "pythons": [python("3.11")],
    "user": {"uid": 0, "sudo": "root"},
    "systemd": True,
    "container": None,
    "package_manager": "apt-get",
    "docker": {"program": None, "answers": False, "room": True},
    "compiler": {"cxx": "/usr/bin/g++"},
    "libnuma": "libnuma.so.1",
    "gpus": [],
    "nvidia": {"pci": [], "nvml": None, "driver": None, "module": {"version": None}},
    "network": {"index": {"answers": True}, "hub": {"answers": True}},
    "lab": {"uv": None},
}


def host(**change: Any) -> dict[str, Any]:
    return {**copy.deepcopy(VM), **change}


def gpu(driver: str, capability: str = "9.0") -> dict[str, Any]:
    row = {"name": "NVIDIA H100 80GB HBM3", "driver_version": driver, "compute_cap": capability}
    pci = [{"address": "0000:00:05.0", "kind": "gpu"}]
    return {
        "gpus": [row],
        "nvidia": {"driver": driver, "pci": pci, "nvml": {"code": 0}, "module": {"version": driver}},
    }


BARE_GPU = {"nvidia": {"pci": [{"kind": "gpu"}], "nvml": None, "driver": None, "module": {"version": None}}}
MISMATCH = {
    "nvidia": {
        "pci": [{"kind": "gpu"}],
        "nvml": {"code": 18, "name": "LIB_RM_VERSION_MISMATCH"},
        "module": {"version": "580.95.05"},
    }
}
AWAY = {"nvidia": {"pci": [{"kind": "gpu", "driver": "vfio-pci"}], "nvml": {"code": 9}, "module": {"version": "580.1"}}}
FORBIDDEN = {"program": "/usr/bin/docker", "answers": False, "why": "permission denied", "room": True}
RENTED: dict[str, Any] = {"container": "docker", "systemd": False, "docker": {"program": None, "answers": False}}
SILENT = {"network": {"index": {"answers": False}, "hub": {"answers": False}}}
H100 = host(**RENTED, **gpu("580.159.04"), **SILENT, pythons=[torch("2.11.0+cu130", "13.0", venv=False)])
AUTO: dict[str, Any] = {}

CPU = {"variant": "cpu", "vllm": "0.32.0", "mode": "uv", "python": "3.11"}
CUDA = {"variant": "cuda", "vllm": "0.32.0", "mode": "uv", "lock": "vllm-0.32.0-cuda.txt"}
OLD_CUDA = {"variant": "cuda", "vllm": "0.19.1", "torch": "2.10.0"}


@pytest.mark.parametrize(
    ("facts", "wishes", "decided"),
    [
        pytest.param(host(), AUTO, {**CPU, "base": "/usr/bin/python3.11", "missing": []}, id="bare VM"),
        pytest.param(host(libnuma=None), AUTO, {"missing": ["libnuma"], "may_install": True}, id="no libnuma"),
        pytest.param(host(**gpu("580.95.05"), libnuma=None), AUTO, {**CUDA, "missing": []}, id="VM with driver 580"),
        pytest.param(host(**RENTED, **gpu("550.54.15")), AUTO, OLD_CUDA, id="container with driver 550"),
        pytest.param(host(**gpu("580.95.05", "7.0")), AUTO, OLD_CUDA, id="V100: CUDA 13 has dropped it"),
        pytest.param(host(**gpu("470.82.01")), {"gpu_driver": "install"}, CUDA, id="driver 470 to be replaced"),
        pytest.param(host(**gpu("470.82.01")), {"vllm_variant": "cpu"}, CPU, id="driver 470 and CPU wanted"),
        pytest.param(host(**MISMATCH), AUTO, CUDA, id="the driver does not answer"),
        pytest.param(host(**BARE_GPU, **RENTED), AUTO, CPU, id="a GPU not handed into the container"),
        pytest.param(host(pythons=[python("3.9")]), AUTO, {**CPU, "base": None, "missing": []}, id="RHEL 9"),
        pytest.param(host(pythons=[python("3.10")]), AUTO, {**CPU, "base": None}, id="Ubuntu 22.04"),
        pytest.param(host(pythons=[]), AUTO, {**CPU, "base": None, "missing": ["venv"]}, id="no Python"),
        pytest.param(host(pythons=[]), {"lab_bundle": "/b"}, {"missing": []}, id="no Python, but a bundle"),
        pytest.param(
            host(user={"uid": 1000, "sudo": "password"}),
            AUTO,
            {"may_install": False, "sudo": False, "sudo_password": True},
            id="sudo with a password",
        ),
        pytest.param(host(user={"uid": 1000, "sudo": "free"}), AUTO, {"may_install": True, "sudo": True}, id="sudo"),
        pytest.param(
            host(**gpu("580.95.05"), pythons=[python("3.13"), python("3.12", headers=False)]),
            AUTO,
            {**CUDA, "python": "3.13", "base": "/usr/bin/python3.13"},
            id="a Python with headers goes first",
        ),
        pytest.param(
            host(**gpu("580.95.05"), pythons=[python("3.14")]), AUTO, {**CUDA, "python": "3.14"}, id="only 3.14"
        ),
        pytest.param(host(**gpu("580.95.05"), pythons=[]), AUTO, {**CUDA, "python": "3.12", "base": None}, id="uv's"),
        pytest.param(H100, {"python_env_mode": "uv"}, {**CUDA, "existing": None}, id="H100, uv asked for"),
        pytest.param(H100, {"vllm_version": "0.32.0"}, CUDA, id="H100, a version that its torch does not fit"),
        pytest.param(
            host(**gpu("580.95.05"), pythons=[torch("2.10.0+cu130", "13.0")]), AUTO, CUDA, id="torch of another CUDA"
        ),
        pytest.param(
            host(**gpu("580.95.05"), pythons=[torch("2.13.0+cpu", None)]), AUTO, CUDA, id="torch without CUDA"
        ),
        pytest.param({}, AUTO, {**CPU, "base": None, "missing": [], "kind": ["unknown host"]}, id="nothing known"),
    ],
)
def test_what_is_decided(facts: dict[str, Any], wishes: dict[str, Any], decided: dict[str, Any]) -> None:
    made = plan.make(facts, wishes)
    assert {key: made[key] for key in decided} == decided
    assert made["why"].endswith(".")
    assert json.loads(json.dumps(made)) == made


def test_the_h100_builds_on_its_own_pytorch() -> None:
    made = plan.make(H100, {})
    assert (made["mode"], made["vllm"], made["base"]) == ("existing", "0.25.1", "/opt/torch/.venv/bin/python3")
    assert made["existing"]["packages"] == {"torch": "2.11.0+cu130"}
    assert made["driver"] == {"action": "leave", "why": "driver 580.159.04 works and is left untouched"}
    assert made["docker"]["action"] == "leave"
    words = ["container", "GPU", "driver 580.159.04", "no systemd", "no docker", "root", "air-gapped", "PyTorch 2.11.0"]
    assert made["kind"] == words
    assert made["source"]["status"] == "proven: H100"


@pytest.mark.parametrize(
    ("change", "action", "why"),
    [
        ({}, "install", "branch 580"),
        ({"systemd": False}, "leave", "without systemd"),
        ({"user": {"uid": 1000, "sudo": "none"}}, "leave", "without root or sudo"),
        ({"package_manager": None}, "leave", "without apt-get or dnf"),
        ({"container": "lxc"}, "leave", "not given"),
        ({"kernel": "5.15.167.4-microsoft-standard-WSL2"}, "leave", "it belongs to the Windows around it"),
    ],
)
def test_a_gpu_without_a_driver(change: dict[str, Any], action: str, why: str) -> None:
    made = plan.make(host(**BARE_GPU, **change), {})
    assert made["driver"]["action"] == action
    assert why in made["driver"]["why"]
    assert made["variant"] == ("cuda" if action == "install" else "cpu")


@pytest.mark.parametrize(
    ("change", "wish", "action"),
    [
        (gpu("580.95.05"), "auto", "install"),
        (gpu("580.95.05"), "leave", "leave"),
        ({}, "auto", "leave"),
        ({}, "install", "install"),
        ({"docker": {"answers": True, "version": "29.0"}}, "install", "leave"),
        ({**gpu("580.95.05"), "docker": FORBIDDEN}, "auto", "leave"),
        ({**gpu("580.95.05"), "docker": FORBIDDEN}, "install", "leave"),
        ({"systemd": False}, "install", "leave"),
        ({"user": {"uid": 1000, "sudo": "none"}}, "install", "leave"),
        ({**gpu("580.95.05"), "container": "lxc"}, "auto", "leave"),
    ],
)
def test_a_container_engine(change: dict[str, Any], wish: str, action: str) -> None:
    made = plan.make(host(**change), {"container_runtime": wish})["docker"]
    assert made["action"] == action
    assert made["why"]


@pytest.mark.parametrize(
    ("facts", "wishes", "said"),
    [
        (host(arch="aarch64"), {}, "This host is aarch64"),
        (host(kernel="Darwin 25.1"), {}, "needs Linux"),
        (host(libc={"name": "musl", "version": "1.2"}), {}, "need glibc; this host has musl"),
        (host(libc={"name": "glibc", "version": "2.28"}), {}, "needs glibc 2.31 or newer, this host has 2.28"),
        (host(**gpu("470.82.01")), {}, "0.19.1 needs driver 525.60.13 or newer (CUDA 12.8), this host has 470.82.01"),
        (host(**gpu("550.54.15")), {"vllm_version": "0.32.0"}, "vLLM 0.19.1 would run here: set vllm_version"),
        (host(**gpu("580.95.05")), {"vllm_version": "0.30.0"}, "(its wheels take PyTorch 2.13.0 and CUDA 13.0)"),
        (host(), {"vllm_version": "0.25.1"}, "no lock for vLLM 0.25.1, variant cpu"),
        (host(), {"vllm_variant": "cuda"}, "there is no NVIDIA GPU"),
        (host(), {"vllm_variant": "gpu"}, "it takes auto, cpu, cuda"),
        (host(), {"vllm_python": "3.12"}, "has wheels for Python 3.11, not 3.12"),
        (host(), {"python_env_mode": "conda", "vllm_python": "3.10"}, "silently gets an old vLLM"),
        (host(), {"python_env_mode": "existing"}, "no Python here has PyTorch; needed: 2.13.0 for vLLM 0.32.0 (CPU)"),
        (H100, {"python_env_mode": "existing", "vllm_version": "0.32.0"}, "2.13.0 for vLLM 0.32.0 (CUDA 13.0)"),
        (host(pythons=[python("3.10")]), {"python_env_mode": "venv"}, "Mind: the tutorial's `conda create"),
        (host(**RENTED, **gpu("470.82.01")), {"gpu_driver": "install"}, "it belongs to the machine around it"),
        (host(**AWAY), {"gpu_driver": "install"}, "given to virtual machines (its driver is vfio-pci)"),
        (host(kernel="6.6-Microsoft"), {"gpu_driver": "install"}, "belongs to the Windows around it"),
        (host(**gpu("595.45.04")), {"gpu_driver": "install"}, "driver 595.45.04 is newer than branch 580"),
        (host(**gpu("580.95.05", "6.1")), {}, "newer, NVIDIA H100 80GB HBM3 has 6.1. vllm_variant: cpu would."),
        (host(), {"vllm_without": "tilelang"}, "takes a list"),
        (host(), {"vllm_version": ["0.32.0"]}, "takes a word or a version"),
        ([], {}, "no facts of a host"),
    ],
)
def test_what_is_impossible_is_said_in_a_sentence(facts: Any, wishes: dict[str, Any], said: str) -> None:
    with pytest.raises(plan.Impossible) as caught:
        plan.make(facts, wishes)
    assert said in str(caught.value)
    assert str(caught.value).endswith(".")


def test_what_a_bundle_brings() -> None:
    assert plan.lacking(H100, plan.make(H100, {})) == {"uv": True, "python": None}
    empty = host(pythons=[], lab={"uv": "0.13.9"})
    assert plan.lacking(empty, plan.make(empty, {})) == {"uv": False, "python": "3.11"}


def test_the_class_of_a_host_that_no_plan_fits() -> None:
    assert (
        plan.kind(host(arch="aarch64"))["sentence"] == "vm is a machine (Debian GNU/Linux 12): no GPU, no docker, root."
    )


def test_a_gpu_of_virtual_machines_gets_no_driver() -> None:
    made = plan.make(host(**AWAY), {})
    assert (made["driver"]["action"], made["variant"], made["docker"]["action"]) == ("leave", "cpu", "leave")
    assert "vfio-pci" in made["driver"]["why"]


def test_an_engine_that_does_not_answer_is_left_and_named() -> None:
    why = plan.make(host(docker=FORBIDDEN), {"container_runtime": "install"})["docker"]["why"]
    assert why == "/usr/bin/docker is there and does not answer (permission denied): it is left as it is"


def test_an_old_gpu_beside_a_good_one() -> None:
    facts = host(**gpu("580.95.05"))
    facts["gpus"].append({"name": "Tesla P4", "driver_version": "580.95.05", "compute_cap": "6.1"})
    made = plan.make(facts, {})
    assert (made["variant"], made["vllm"]) == ("cuda", "0.32.0")
    assert "no lock runs on Tesla P4 (6.1): keep it out by CUDA_VISIBLE_DEVICES" in made["why"]


@pytest.mark.parametrize("version", ["2.13.0+cu²3", "2.13.0+cu1²"])
def test_digits_that_are_no_numbers(version: str) -> None:
    facts = host(**gpu("580.95.05"), pythons=[torch(version, None), python("3.²")])
    assert plan.make(facts, {})["mode"] == "uv"
