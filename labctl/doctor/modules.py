"""Verdicts about the kernel's side of a GPU: NVIDIA's module, nouveau, Secure Boot, and the NVSwitch's daemon."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from labctl.doctor.verdict import Verdict, root
from labctl.plan.facts import get, rows, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Facts = Mapping[str, Any]

# Where DKMS keeps the key that it signs modules with (dkms(8); Ubuntu's shim-signed has a folder of its own).
_KEYS = {"ubuntu": "/var/lib/shim-signed/mok/MOK.der"}
_KEY = "/var/lib/dkms/mok.pub"


def verdicts(facts: Facts, host: str) -> Iterator[Verdict]:
    """For a machine of its own; inside a container nobody can change any of it."""
    loaded = get(facts, "nvidia", "module", "loaded") is True
    if get(facts, "nvidia", "nouveau") is True and not loaded:
        rebuild = "update-initramfs -u" if text(facts, "package_manager") != "dnf" else "dracut --force"
        off = f"echo 'blacklist nouveau' > /etc/modprobe.d/no-nouveau.conf && {rebuild} && reboot"
        yield Verdict(
            "nouveau", "fail", "the kernel's own driver nouveau holds the GPU: NVIDIA's cannot", root(facts, off)
        )
    elif get(facts, "nvidia", "nouveau") is False:
        yield Verdict("nouveau", "ok", "nouveau is not loaded")
    yield from _secure_boot(facts, loaded=loaded, host=host)


def _secure_boot(facts: Facts, *, loaded: bool, host: str) -> Iterator[Verdict]:
    on, signed = get(facts, "nvidia", "secure_boot"), get(facts, "nvidia", "module_signed")
    if on is not True:
        if on is False:
            yield Verdict("secure-boot", "ok", "Secure Boot is off: any module loads")
        return
    if loaded:
        yield Verdict("secure-boot", "ok", "Secure Boot is on, and NVIDIA's module is loaded")
        return
    key = _KEYS.get(text(facts, "os", "id") or "", _KEY)
    enroll = root(facts, f"mokutil --import {key}") + "  # then reboot and confirm at the console"
    if signed is False:
        what = "Secure Boot is on and NVIDIA's module is not signed: the kernel refuses it (or switch Secure Boot off)"
        yield Verdict("secure-boot", "fail", what, enroll)
    elif signed is True:
        what = "Secure Boot is on; NVIDIA's module is signed, but not loaded: its key may not be enrolled"
        yield Verdict("secure-boot", "warn", what, enroll)
    else:
        what = "Secure Boot is on: a driver whose module is compiled here loads only once its key is enrolled"
        yield Verdict("secure-boot", "warn", what, f"labctl provision {host}")


def fabric(facts: Facts, host: str) -> Iterator[Verdict]:
    """Behind an NVSwitch, CUDA starts only with a fabric manager of the driver's exact version (its user guide)."""
    state = text(facts, "nvidia", "fabric", "state")
    if get(facts, "nvidia", "fabric", "needed") is not True:
        yield from _guest(state)
        return
    manager, version = text(facts, "nvidia", "fabric", "manager"), text(facts, "nvidia", "fabric", "version")
    driver = text(facts, "nvidia", "driver")
    switches = sum(row.get("kind") == "nvswitch" for row in rows(facts, "nvidia", "pci"))
    here = f"{switches or 'an'} NVSwitch here"
    if facts.get("container") and manager != "active":
        level = "ok" if get(facts, "nvidia", "cuinit") == 0 else "warn"
        told = "CUDA starts" if level == "ok" else f"fabric {state or 'unknown'}"
        yield Verdict("fabric", level, f"{here}; the fabric manager runs outside this container ({told})")
        return
    if version and driver and version != driver:
        what = f"{here}: fabric manager {version}, driver {driver}; they must be of exactly the same version"
        yield Verdict("fabric", "fail", what, _install(facts, driver, host))
    elif manager == "active":
        yield Verdict("fabric", "ok", f"{here}, and the fabric manager {version or ''} is running".replace("  ", " "))
    elif manager == "inactive":
        what = f"{here}, and the fabric manager is not running: CUDA gives error 802"
        yield Verdict("fabric", "fail", what, root(facts, "systemctl enable --now nvidia-fabricmanager"))
    elif manager == "absent":
        what = f"{here}, and no fabric manager: CUDA gives error 802"
        yield Verdict("fabric", "fail", what, _install(facts, driver, host))
    else:
        yield Verdict("fabric", "warn", f"{here}: whether the fabric manager runs is unknown")


def _guest(state: str | None) -> Iterator[Verdict]:
    """GPUs handed to a virtual machine: their NVSwitch stays outside, only the fabric's state shows it."""
    if state == "completed":
        yield Verdict("fabric", "ok", "the NVLink fabric of these GPUs is complete")
    elif state in {"not started", "in progress"}:
        what = f"the NVLink fabric of these GPUs is {state}: the fabric manager outside this machine sets it up"
        yield Verdict("fabric", "fail", f"{what}; until then CUDA gives error 802", "nvidia-smi -q | grep -A 3 Fabric")


def _install(facts: Facts, driver: str | None, host: str) -> str:
    # What a file of facts holds may be anything, and this is to be pasted.
    if not re.fullmatch("[0-9.]+", driver or ""):
        return f"labctl provision {host} --driver"
    branch = str(driver).partition(".")[0]
    apt = f"apt-get install -y 'nvidia-fabricmanager-{branch}={driver}-*'"
    words = f"dnf install -y nvidia-fabricmanager-{driver}" if text(facts, "package_manager") == "dnf" else apt
    return root(facts, words)
