"""The kernel's side of the probe, from made-up trees of /proc, /sys, /dev, /lib: no machine here has such a kernel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from labctl import doctor
from labctl.runner import probe

SOURCE = Path(probe.__file__)
RELEASE = os.uname().release
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\nGCC version: 13\n"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n"
EFI = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
XID = (
    "3,812,91,-;NVRM: Xid (PCI:0000:3b:00): 31, pid=4242, name=python, Ch 00000008, MMU Fault\n"
    "3,813,92,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=4242, GPU has fallen off the bus.\n"
    "3,814,93,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off the bus.\n"
)


class Tree:
    """A made-up root: files by their paths, and what either probe tells of it."""

    def __init__(self, root: Path, program: list[str], path: str) -> None:
        self.root, self.program, self.path = root, program, path
        self.kept: dict[str, Any] | None = None

    def put(self, path: str, content: bytes | str = "") -> None:
        self.kept = None
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())

    def pci(self, address: str, kind: str, device: str = "0x2330") -> None:
        for name, value in (("vendor", "0x10de"), ("class", kind), ("device", device)):
            self.put(f"sys/bus/pci/devices/{address}/{name}", f"{value}\n")

    def machine(self) -> None:
        """A machine of its own with systemd and one GPU."""
        (self.root / "run/systemd/system").mkdir(parents=True)
        self.put("etc/os-release", 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04.3 LTS"\n')
        self.pci("0000:3b:00.0", "0x030200")

    def facts(self) -> dict[str, Any]:
        """What the probe tells; asked anew after each change by ``put``."""
        if self.kept is None:
            self.kept = self._ask()
        return self.kept

    def _ask(self) -> dict[str, Any]:
        words = [*self.program, str(self.root / "lab"), *(["-"] if self.program[0] == sys.executable else [])]
        # Of no matter here, and refused at once.
        nowhere = dict.fromkeys(("PIP_INDEX_URL", "HF_ENDPOINT"), "http://127.0.0.1:9")
        env = {**os.environ, "LABCTL_PROBE_ROOT": str(self.root), "PATH": self.path, **nowhere}
        done = subprocess.run(words, env=env, capture_output=True, check=True, timeout=30)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def verdict(self, check: str) -> doctor.Verdict:
        return next(one for one in doctor.verdicts(self.facts(), "gpu1") if one.check == check)


@pytest.fixture(params=["python", "shell"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    root = tmp_path / "root"
    root.mkdir()
    if request.param == "python":
        return Tree(root, [sys.executable, str(SOURCE)], os.environ["PATH"])
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("no busybox on this machine: apt-get install busybox")
    # Its own applets alone, as on Alpine: none of GNU's programs is to be found.
    (tmp_path / "bin").mkdir()
    subprocess.run([busybox, "--install", "-s", str(tmp_path / "bin")], check=True)
    return Tree(root, [busybox, "sh", str(SOURCE.with_name("probe.sh"))], str(tmp_path / "bin"))


def test_a_machine_of_its_own(tree: Tree) -> None:
    tree.machine()
    tree.pci("0000:3c:00.0", "0x030000", "0x2684")
    tree.pci("0000:3c:00.1", "0x040300")  # the same card's sound
    tree.put(
        "etc/os-release", 'ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\nPRETTY_NAME="Rocky Linux 9.4"\n'
    )
    found = tree.facts()
    assert (found["container"], found["systemd"]) == (None, True)
    assert found["os"]["like"] == ["rhel", "centos", "fedora"]
    assert [(row["device"], row["kind"]) for row in found["nvidia"]["pci"]] == [("2330", "gpu"), ("2684", "gpu")]


@pytest.mark.parametrize(
    ("proc", "version", "is_open"), [(OPEN, "580.95.05", True), (CLOSED, "535.183.01", False)], ids=["open", "closed"]
)
def test_a_loaded_module(tree: Tree, proc: str, version: str, *, is_open: bool) -> None:
    tree.machine()
    tree.put("proc/driver/nvidia/version", proc)
    tree.put("sys/module/nvidia/taint", "O\n")
    nvidia = tree.facts()["nvidia"]
    assert nvidia["module"] == {"version": version, "open": is_open, "loaded": True}
    assert (nvidia["driver"], nvidia["module_signed"]) == (version, True)
    tree.put("sys/module/nvidia/taint", "POE\n")
    assert tree.facts()["nvidia"]["module_signed"] is False


@pytest.mark.parametrize(("tail", "level"), [(b"", "fail"), (b"~Module signature appended~\n", "warn")])
def test_secure_boot_refuses_an_unsigned_module(tree: Tree, tail: bytes, level: str) -> None:
    tree.machine()
    tree.put(EFI, b"\6\0\0\0\1")
    tree.put(f"lib/modules/{RELEASE}/modules.dep", "kernel/fs/a.ko:\nupdates/dkms/nvidia.ko: kernel/x.ko\n")
    tree.put(f"lib/modules/{RELEASE}/updates/dkms/nvidia.ko", b"\x7fELF" + b"\0" * 5000 + tail)
    nvidia = tree.facts()["nvidia"]
    assert (nvidia["secure_boot"], nvidia["module_signed"]) == (True, bool(tail))
    found = tree.verdict("secure-boot")
    assert found.level == level
    assert "mokutil --import /var/lib/shim-signed/mok/MOK.der" in found.fix


def test_secure_boot_is_off(tree: Tree) -> None:
    tree.machine()
    tree.put(EFI, b"\6\0\0\0\0")
    assert tree.facts()["nvidia"]["secure_boot"] is False
    assert tree.verdict("secure-boot").level == "ok"


def test_a_machine_started_by_a_bios_has_no_secure_boot(tree: Tree) -> None:
    tree.machine()
    (tree.root / "sys/firmware/acpi").mkdir(parents=True)
    assert tree.facts()["nvidia"]["secure_boot"] is False


def test_nouveau_holds_the_gpu(tree: Tree) -> None:
    tree.machine()
    (tree.root / "sys/module/nouveau").mkdir(parents=True)
    assert tree.facts()["nvidia"]["nouveau"] is True
    found = tree.verdict("nouveau")
    assert found.level == "fail"
    assert "blacklist nouveau" in found.fix


def test_an_nvswitch_without_fabric_manager(tree: Tree) -> None:
    tree.machine()
    tree.pci("0000:86:00.0", "0x068000", "0x22a3")
    tree.put("proc/driver/nvidia/version", OPEN)
    assert tree.facts()["nvidia"]["fabric"]["needed"] is True
    found = tree.verdict("fabric")
    assert (found.level, "802" in found.meaning) == ("fail", True)
    assert "nvidia-fabricmanager-580=580.95.05" in found.fix
    manager = tree.root / "usr/bin/nv-fabricmanager"
    tree.put("usr/bin/nv-fabricmanager", "#!/bin/sh\necho 'Fabric Manager version is : 580.65.06'\n")
    manager.chmod(0o755)
    assert tree.facts()["nvidia"]["fabric"]["manager"] == "inactive"
    tree.put("proc/4711/comm", "nv-fabricmanage\n")
    found = tree.verdict("fabric")
    assert found.level == "fail"
    assert "fabric manager 580.65.06, driver 580.95.05" in found.meaning
    tree.put("usr/bin/nv-fabricmanager", "#!/bin/sh\necho 'Fabric Manager version is : 580.95.05'\n")
    assert tree.verdict("fabric").level == "ok"


def test_xids_of_the_kernel_log(tree: Tree) -> None:
    tree.machine()
    tree.put("dev/kmsg", "6,1,0,-;Linux version 6.8.0\n" + XID)
    rows = tree.facts()["nvidia"]["xid"]
    assert [(row["code"], row["count"]) for row in rows] == [(31, 1), (79, 2)]
    assert "PCI:0000:3b:00" in rows[1]["last"]
    found = tree.verdict("xid")
    assert found.level == "fail"
    assert "fallen off the bus" in found.meaning
    tree.put("dev/kmsg", "6,1,0,-;Linux version 6.8.0\n")
    assert tree.facts()["nvidia"]["xid"] == []
    assert tree.verdict("xid").level == "ok"


def test_a_kernel_log_that_cannot_be_read(tree: Tree) -> None:
    tree.machine()
    assert tree.facts()["nvidia"]["xid"] is None
    assert tree.verdict("xid").level == "warn"


def test_processes_of_a_logged_out_user_are_killed(tree: Tree) -> None:
    tree.machine()
    tree.put("etc/systemd/logind.conf", "[Login]\n#KillUserProcesses=no\n")
    assert tree.facts()["logind"]["kill_user_processes"] is None
    tree.put("etc/systemd/logind.conf.d/10-site.conf", "[Login]\nKillUserProcesses=yes\n")
    facts = tree.facts()
    assert facts["logind"] == {"kill_user_processes": True, "linger": False}
    tree.put(f"var/lib/systemd/linger/{facts['user']['name']}")
    assert tree.facts()["logind"]["linger"] is True


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        ("run/systemd/container", "lxc\n", "lxc"),
        ("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n", "kubepods"),
    ],
)
def test_the_kind_of_a_container(tree: Tree, path: str, content: str, kind: str) -> None:
    tree.put(path, content)
    assert tree.facts()["container"] == kind


@pytest.mark.parametrize(
    ("option", "bounds", "room"),
    [
        ("rw,nosuid", "000001ffffffffff", True),
        ("ro,nosuid", "000001ffffffffff", False),
        ("rw", "00000000a80425fb", False),
    ],
)
def test_room_for_an_engine(tree: Tree, option: str, bounds: str, *, room: bool) -> None:
    tree.machine()
    tree.put("proc/self/mounts", f"proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 {option} 0 0\n")
    tree.put("proc/self/status", f"Name:\tpython\nCapBnd:\t{bounds}\n")
    facts = tree.facts()
    assert facts["docker"]["room"] is (room and facts["user"]["sudo"] != "none")
