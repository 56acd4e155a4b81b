"""The probe for real: on this machine, with libraries that stand in for a driver's, and as a module of Ansible."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from labctl import ansible_inventory, assets
from labctl.runner import probe

SOURCE = Path(probe.__file__)
SHELL = SOURCE.with_name("probe.sh")
STAND_IN = Path(__file__).with_name("nvml_stand_in.c")
CAPTURE = Path(__file__).parents[1] / "data" / "probe-h100"
LATE = 4.0  # what the contract of the probe allows


def look(
    lab_dir: str = "labctl", program: tuple[str, ...] = (sys.executable, str(SOURCE)), **env: str
) -> dict[str, Any]:
    words = [*program, lab_dir] if program[-1] == str(SHELL) else [*program, lab_dir, "-"]
    done = subprocess.run(words, env={**os.environ, **env}, capture_output=True, text=True, check=True, timeout=30)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def here() -> dict[str, Any]:
    return look()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a libnvidia-ml.so.1 and a libcuda.so.1."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler on this machine: nothing can stand in for a driver")
    folder = tmp_path_factory.mktemp("driver")
    for name in ("libnvidia-ml.so.1", "libcuda.so.1"):
        library = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(folder / name), str(STAND_IN)]
        subprocess.run(library, check=True)
    return str(folder)


def test_this_machine(here: dict[str, Any]) -> None:
    assert (here["schema"], here["by"]) == (2, "python")
    assert here["kernel"] == os.uname().release
    assert here["cpu"]["count"] == os.cpu_count()
    assert here["disk"]["free"] > 0
    assert here["memory"]["total"] > here["memory"]["available"] > 0
    assert abs(here["time"] - time.time()) < 600
    assert here["lab"]["dir"] == str(Path.home() / "labctl")
    assert here["user"]["uid"] == os.getuid()
    assert set(here["network"]) == {"index", "hub"}


def test_every_python_is_listed_once(here: dict[str, Any]) -> None:
    assert here["pythons"], "this test runs on one"
    bases = [row["base"] for row in here["pythons"] if not row["torch"]]
    assert len(bases) == len(set(bases))
    for row in here["pythons"]:
        said = subprocess.run([row["executable"], "-V"], capture_output=True, text=True, check=True).stdout.strip()
        assert said == f"Python {row['full']}"
        assert row["version"] == ".".join(row["full"].split(".")[:2])


def test_an_environment_with_torch_stands_for_itself(tmp_path: Path) -> None:
    env = tmp_path / "torch env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(env)], check=True)
    site = next(env.glob("lib/python3*/site-packages"))
    (site / "torch").mkdir()
    (site / "torch" / "version.py").write_text(
        "__version__ = '2.11.0+cu130'\ncuda: Optional[str] = '13.0'\nhip = None\n"
    )
    for name in ("torch-2.11.0+cu130.dist-info", "nvidia_cublas-13.1.0.3.dist-info"):
        (site / name).mkdir()
    rows = look(VIRTUAL_ENV=str(env))["pythons"]
    found = [row for row in rows if row["torch"] and row["prefix"] == str(env)]
    assert len(found) == 1
    assert found[0]["executable"] == str(env / "bin" / "python3")
    assert found[0]["torch"] == {"version": "2.11.0+cu130", "cuda": "13.0"}
    assert found[0]["packages"] == {"torch": "2.11.0+cu130", "nvidia-cublas": "13.1.0.3"}
    assert found[0]["base"] in {row["base"] for row in rows if not row["torch"]}


def test_a_python_that_hangs_costs_nobody_else(tmp_path: Path) -> None:
    hanging = tmp_path / "bin" / "python3"
    hanging.parent.mkdir()
    hanging.write_text("#!/bin/sh\nsleep 60\n")
    hanging.chmod(0o755)
    began = time.monotonic()
    found = look(VIRTUAL_ENV=str(tmp_path))
    assert time.monotonic() - began < LATE + 1.5
    assert found["pythons"]
    assert str(hanging) not in {row["executable"] for row in found["pythons"]}


def test_every_older_python_runs_it() -> None:
    places = [Path("/usr/bin"), *Path.home().glob(".pyenv/versions/*/bin")]
    old = [path for place in places for minor in range(6, 11) if (path := place / f"python3.{minor}").exists()]
    if not old:
        pytest.skip("no Python 3.6 to 3.10 on this machine: only test_runner_imports.py looks at the syntax")
    for program in old:
        found = look("labctl", (str(program), "-W", "error", str(SOURCE)))
        assert found["python"]["executable"] == str(program)
        assert found["pythons"]


def test_a_lab_is_read(tmp_path: Path) -> None:
    card = {"python": sys.executable, "runner": "0.1", "variant": "cpu"}
    (tmp_path / "lab.json").write_text(json.dumps(card))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    site = next(tmp_path.glob("env/lib/python3*/site-packages"))
    (site / "labctl_runner-0.3.0.dist-info").mkdir()
    (tmp_path / "env" / "labctl-stamp").write_text("abc\n")
    lab = look(str(tmp_path))["lab"]
    assert lab["card"] == card
    assert lab["whole"] is True
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    env = {"python": version, "stamp": "abc", "packages": ["labctl-runner==0.3.0"], "runner": "0.3.0"}
    assert lab["env"] == env
    (tmp_path / "lab.json").write_text("[1")
    broken = look(str(tmp_path))["lab"]
    assert (broken["card"], broken["whole"]) == (None, False)


def test_the_record_of_a_run_waits_for_little(tmp_path: Path) -> None:
    began = time.monotonic()
    found = probe.facts(str(tmp_path), light=True)
    took = time.monotonic() - began
    assert (found["pythons"], found["docker"]["answers"]) == ([], None)
    assert "network" not in found
    full = {key for key in look(str(tmp_path)) if key != "network"}
    assert set(found) == full
    assert took < 1.5


def test_several_gpus_by_nvml(driver: str) -> None:
    found = look(LD_LIBRARY_PATH=driver, STAND_IN_GPUS="8", STAND_IN_FABRIC="2")
    assert len(found["gpus"]) == 8
    assert found["gpus"][3] == {
        "index": "3", "name": "NVIDIA H100 80GB HBM3", "uuid": "GPU-0000...", "driver_version": "580.159.04",
        "memory.total": "81559", "compute_cap": "9.0", "vbios_version": "96.00.DA.00.0C",
    }  # fmt: skip
    nvidia = found["nvidia"]
    assert nvidia["nvml"] == {"code": 0, "name": "Success"}
    assert (nvidia["driver"], nvidia["cuda"], nvidia["cuinit"]) == ("580.159.04", "13.0", 0)
    assert nvidia["fabric"]["state"] == "in progress"


@pytest.mark.parametrize(
    ("code", "name"), [(9, "Driver Not Loaded"), (18, "Driver/library version mismatch"), (999, "Unknown Error")]
)
def test_nvml_refuses(driver: str, code: int, name: str) -> None:
    found = look(LD_LIBRARY_PATH=driver, STAND_IN_NVML=str(code))
    assert found["nvidia"]["nvml"] == {"code": code, "name": name}
    assert found["gpus"] == []


@pytest.mark.parametrize("code", [802, 803, 804])
def test_cuda_does_not_start(driver: str, code: int) -> None:
    assert look(LD_LIBRARY_PATH=driver, STAND_IN_CUINIT=str(code))["nvidia"]["cuinit"] == code


def test_a_driver_that_hangs_is_not_waited_for(driver: str) -> None:
    began = time.monotonic()
    found = look(LD_LIBRARY_PATH=driver, STAND_IN_HANG="1")
    assert time.monotonic() - began < LATE + 1.5
    assert found["nvidia"]["nvml"] == {"code": None, "name": "no answer in 3 s"}
    assert (found["nvidia"]["cuinit"], found["gpus"]) == (None, [])


def smi(folder: Path, body: str) -> str:
    """PATH with an nvidia-smi first."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


REPLAY = f"""case $1 in
--query-gpu=index,name,uuid,driver_version,memory.total,compute_cap,vbios_version) cat {CAPTURE}/nvidia-smi-query.csv ;;
-q) cat {CAPTURE}/nvidia-smi-q.txt ;;
*) exit 1 ;;
esac"""


@pytest.mark.parametrize("by", ["python", "dash", "busybox"])
def test_nvidia_smi_where_there_is_no_library(tmp_path: Path, by: str) -> None:
    found = look(program=programs(by), PATH=smi(tmp_path, REPLAY))
    assert len(found["gpus"]) == 1
    row = found["gpus"][0]
    assert (row["name"], row["memory.total"], row["compute_cap"]) == ("NVIDIA H100 80GB HBM3", "81559", "9.0")
    assert row["uuid"] == "GPU-0000..."
    assert found["nvidia"]["cuda"] == "13.0"
    assert found["nvidia"]["smi"] == str(tmp_path / "nvidia-smi")


@pytest.mark.parametrize("by", ["python", "dash", "busybox"])
def test_nvidia_smi_that_fails_tells_why(tmp_path: Path, by: str) -> None:
    # The very words of nvidia-smi after an upgrade without a reboot.
    words = (
        "echo 'Failed to initialize NVML: Driver/library version mismatch'; echo 'NVML library version: 580'; exit 18"
    )
    found = look(program=programs(by), PATH=smi(tmp_path, words))
    assert found["nvidia"]["nvml"]["code"] == 18
    assert found["gpus"] == []


HANGS = "trap '' TERM\nwhile :; do sleep 0.2; done"


@pytest.mark.parametrize("by", ["python", "dash", "busybox"])
def test_all_that_hangs_hangs_at_once(tmp_path: Path, by: str) -> None:
    path = smi(tmp_path, HANGS)
    for name in ("docker", "dmesg", "env/bin/python", "uv/bin/uv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "nvidia-smi", tmp_path / name)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    began = time.monotonic()
    found = look(str(tmp_path), programs(by), PATH=path)
    assert time.monotonic() - began < LATE + 1.5
    assert (found["gpus"], found["lab"]["uv"], found["docker"]["answers"]) == ([], None, False)


def test_an_interpreter_that_prints_without_end(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    endless = tmp_path / "bin" / "python3"
    endless.write_text("#!/bin/sh\nexec cat /dev/zero\n")
    endless.chmod(0o755)
    code = (
        f"import re, sys; sys.path.insert(0, {str(SOURCE.parent)!r}); import probe; "
        f"said = probe._run([{str(endless)!r}]); "
        # VmHWM, not getrusage: that counts the parent's memory at the time of the fork, pytest's.
        "most = re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]; "
        "print(said, int(most) < 200 * 1024)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["None", "True"]
    assert time.monotonic() - began < LATE


@pytest.mark.parametrize("by", ["python", "dash", "busybox"])
def test_who_holds_a_gpu(tmp_path: Path, by: str) -> None:
    for name, driver in (("0000:01:00.0", "vfio-pci"), ("0000:02:00.0", None)):
        device = tmp_path / "sys/bus/pci/devices" / name
        device.mkdir(parents=True)
        for key, value in (("vendor", "0x10de"), ("class", "0x030200"), ("device", "0x2330")):
            (device / key).write_text(value + "\n")
        if driver:
            (device / "driver").symlink_to(f"../../../bus/pci/drivers/{driver}")
    found = look(program=programs(by), LABCTL_PROBE_ROOT=str(tmp_path))
    assert [row["driver"] for row in found["nvidia"]["pci"]] == ["vfio-pci", None]


@pytest.mark.parametrize("by", ["python", "dash", "busybox"])
def test_a_name_that_is_not_utf8(tmp_path: Path, by: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "os-release").write_bytes('ID=debian\nPRETTY_NAME="Deb\u00ef'.encode() + b'an \xff\xe9"\n')
    found = look(program=programs(by), LABCTL_PROBE_ROOT=str(tmp_path))
    assert found["os"]["name"].startswith("Deb\u00efan")


def programs(by: str) -> tuple[str, ...]:
    words = {
        "python": (sys.executable, str(SOURCE)),
        "busybox": ("busybox", "sh", str(SHELL)),
        "dash": ("dash", str(SHELL)),
    }
    if shutil.which(words[by][0]) is None:
        pytest.skip(f"no {by} on this machine")
    return words[by]


@pytest.mark.parametrize("by", ["dash", "busybox"])
def test_the_shell_tells_the_same_as_far_as_it_can(here: dict[str, Any], by: str) -> None:
    found = look(program=programs(by))
    # The engine of tests that run beside these may come or go meanwhile.
    now = look()
    assert shape(found) in (shape(here), shape(now))
    for path in (
        ("os",), ("kernel",), ("arch",), ("libc",), ("cpu",), ("systemd",), ("container",), ("package_manager",),
        ("ports",), ("lscpu",), ("libnuma",), ("memory", "total"), ("disk", "total"), ("user",), ("logind",),
        ("docker", "version"), ("docker", "room"), ("lab", "dir"), ("nvidia", "pci"), ("nvidia", "secure_boot"),
    ):  # fmt: skip
        assert at(found, path) in (at(here, path), at(now, path)), path


def at(facts: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        facts = facts[key]
    return facts


def shape(facts: Any) -> Any:
    """Keys alone, to any depth; lists and plain values are one thing."""
    if isinstance(facts, dict):
        return {key: shape(value) for key, value in facts.items() if key not in {"by", "card", "python"}}
    return None


@pytest.mark.parametrize("by", ["dash", "busybox"])
def test_odd_words_stay_json(tmp_path: Path, by: str) -> None:
    home = tmp_path / 'a "quoted" \\ ünï$(touch x)\'s'
    home.mkdir()
    found = look(program=programs(by), HOME=str(home))
    assert found["lab"]["dir"] == f"{home}/labctl"
    assert list(tmp_path.iterdir()) == [home]
    assert list(home.iterdir()) == []


def test_the_index_is_the_users_and_its_password_stays_secret(tmp_path: Path) -> None:
    mirror = "https://me:pa55word@127.0.0.1:9/simple"
    found = look(PIP_INDEX_URL=mirror, HF_ENDPOINT="https://token@127.0.0.1:9")
    assert found["network"]["index"]["endpoint"] == "https://127.0.0.1:9/simple"
    assert found["network"]["index"]["answers"] is False
    assert "pa55word" not in json.dumps(found)
    assert "token@" not in json.dumps(found)
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://127.0.0.1:9/other\n")
    assert look(PIP_CONFIG_FILE=str(config))["network"]["index"]["endpoint"] == "https://127.0.0.1:9/other"


def test_a_taken_port_is_seen() -> None:
    server = [sys.executable, "-I", "-m", "http.server", "8000", "--bind", "127.0.0.1"]
    if not look()["ports"]["8000"]:
        pytest.skip("port 8000 of this machine is in use")
    with subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 10
            while look()["ports"]["8000"] and time.monotonic() < deadline:
                time.sleep(0.1)
            assert look()["ports"]["8000"] is False
            assert look(program=programs("dash"))["ports"]["8000"] is False
        finally:
            process.terminate()


def test_no_secret_of_the_environment_and_no_serial_number_is_told(driver: str) -> None:
    secrets = dict.fromkeys(("HF_TOKEN", "API_KEY"), "verysecret")
    found = json.dumps(look("labctl", (sys.executable, str(SOURCE)), LD_LIBRARY_PATH=driver, **secrets))
    assert "verysecret" not in found
    assert not re.search("GPU-[0-9a-f]{8}-", found)


def test_the_probe_as_a_module_of_ansible(tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    play.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - name: Look\n      lab_facts: {lab_dir: mylab}\n"
        "    - name: Keep\n      ansible.builtin.copy:\n"
        f"        content: '{{{{ ansible_facts.labctl | to_json }}}}'\n        dest: {tmp_path}/facts.json\n"
        "        mode: '0600'\n",
    )
    program = Path(sys.executable).with_name("ansible-playbook")
    words = [
        str(program),
        "-i",
        "localhost,",
        "-c",
        "local",
        "-e",
        f"ansible_python_interpreter={sys.executable}",
        str(play),
    ]
    env = ansible_inventory.environment(tmp_path / "inventory.ini")
    # What an installed labctl relies on; ansible.cfg says it for who calls Ansible by hand.
    assert Path(env["ANSIBLE_MODULE_UTILS"]) / "probe.py" == SOURCE
    subprocess.run(words, env=env, check=True, capture_output=True, timeout=120)
    found = json.loads((tmp_path / "facts.json").read_text())
    assert (found["schema"], found["by"]) == (2, "python")
    assert found["lab"]["dir"] == str(Path.home() / "mylab")
    assert "network" not in found
    assert "module_utils = ../labctl/runner" in (assets.folder("ansible") / "ansible.cfg").read_text()
