"""Verdicts about the machine and its user: Python, memory, disk, port, clock, and who may do what."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from labctl.doctor.verdict import GIB, Verdict, install, is_root, number, root
from labctl.plan.facts import get, rows, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Facts = Mapping[str, Any]

_MEMORY_NEEDED = 5 * GIB
# vLLM's processes speak through shared memory; below this it dies at its start (FACTS: 160 MiB).
_SHM_NEEDED = 160 * 1024**2
_VLLM_PYTHON, _ANSIBLE_PYTHON = (3, 11), (3, 8)
# A machine that keeps time by NTP is right to well under a second; one that is 5 s off keeps none, and drifts on.
_CLOCK_WARN_S = 5.0
# Lists of apt that are dated in the future are refused, and so are certificates that are not valid yet.
_CLOCK_FAIL_S = 3600.0


def verdicts(facts: Facts, host: str, variant: str, room: int) -> Iterator[Verdict]:
    """``variant``: of vLLM, here; ``room``: bytes that must be free where the lab lies."""
    yield _python(facts)
    yield _sudo(facts, host)
    if variant == "cpu":
        yield _libnuma(facts)
        yield _lscpu(facts)
    yield _compiler(facts)
    place = shlex.quote(text(facts, "disk", "path") or ".")
    yield _at_least("disk", number(facts, "disk", "free"), room, "free where the lab lies", fatal=True)._replace(
        fix=f"df -h {place}  # free some, or set lab_dir to a folder on a larger disk"
    )
    yield _memory(facts)
    yield _shm(facts)
    yield from _port(facts)
    yield from _logout(facts)
    yield from _clock(facts)


def _python(facts: Facts) -> Verdict:
    numbers = [_version(text(row, "full") or text(row, "version")) for row in rows(facts, "pythons")]
    newest = max([_version(text(facts, "python", "version")), *numbers])
    shown = ".".join(map(str, newest))
    if text(facts, "by") == "shell" and not newest:
        what = "no Python that the probe could run on (3.6 or newer): Ansible cannot work there"
        return Verdict("python", "fail", what, install(facts, "python3", "python3"))
    if len(newest) < 2:  # noqa: PLR2004 - major and minor
        return Verdict("python", "warn", "the version of Python is unknown")
    if newest >= _VLLM_PYTHON:
        return Verdict("python", "ok", f"Python {shown}")
    if newest >= _ANSIBLE_PYTHON:
        return Verdict("python", "warn", f"Python {shown} is too old for vLLM: provisioning brings its own by uv")
    what = f"Python {shown} is too old for Ansible, which needs 3.8 or newer on a host"
    return Verdict("python", "fail", what, install(facts, "python3.8", "python3.11"))


def _version(version: str | None) -> tuple[int, ...]:
    parts = (version or "").split(".")
    # A few digits: what a mangled fact may hold is no number to compute with.
    return tuple(int(part) for part in parts) if all(p.isascii() and p.isdigit() and len(p) < 4 for p in parts) else ()  # noqa: PLR2004


def _sudo(facts: Facts, host: str) -> Verdict:
    user = text(facts, "user", "name") or "this user"
    if is_root(facts):
        return Verdict("sudo", "ok", f"{user} is root")
    ask = f"labctl provision {host} --ask-become-pass"
    told = {
        "free": Verdict("sudo", "ok", f"{user} may become root by sudo without a password"),
        "password": Verdict("sudo", "warn", f"{user} may become root only by sudo with a password", ask),
        "none": Verdict(
            "sudo", "warn", f"{user} cannot become root: what the system lacks must be put there by others"
        ),
    }
    return told.get(text(facts, "user", "sudo") or "", Verdict("sudo", "warn", f"it is unknown what {user} may do"))


def _libnuma(facts: Facts) -> Verdict:
    if facts.get("libnuma"):
        return Verdict("libnuma", "ok", f"{facts['libnuma']}: vLLM on CPU can load")
    what = "libnuma is missing: vLLM on CPU cannot load"
    return Verdict("libnuma", "fail", what, install(facts, "libnuma1", "numactl-libs"))


def _lscpu(facts: Facts) -> Verdict:
    if facts.get("lscpu"):
        return Verdict("lscpu", "ok", "vLLM can learn which cores there are")
    what = "lscpu is missing: vLLM on CPU cannot start"
    return Verdict("lscpu", "fail", what, install(facts, "util-linux", "util-linux"))


def _compiler(facts: Facts) -> Verdict:
    lacks = [name for name, key in (("g++", "cxx"), ("Python.h", "headers")) if not get(facts, "compiler", key)]
    if not lacks:
        return Verdict("compiler", "ok", f"{get(facts, 'compiler', 'cxx')} and Python headers: torch.compile can work")
    fix = install(facts, "g++ python3-dev", "gcc-c++ python3-devel")
    return Verdict("compiler", "warn", f"{' and '.join(lacks)} missing: runs go eager (slower, no compile)", fix)


def _at_least(check: str, have: int | None, need: int, what: str, *, fatal: bool) -> Verdict:
    if have is None:
        return Verdict(check, "warn", f"it is unknown how much there is {what}")
    told = f"{have / GIB:.1f} GiB {what}"
    if have >= need:
        return Verdict(check, "ok", told)
    return Verdict(check, "fail" if fatal else "warn", f"{told}; needed: {need / GIB:.2g} GiB")


def _memory(facts: Facts) -> Verdict:
    bounds = [number(facts, "memory", "available"), number(facts, "memory", "cgroup_limit")]
    usable = min((bound for bound in bounds if bound is not None), default=None) if bounds[0] is not None else None
    return _at_least("memory", usable, _MEMORY_NEEDED, "of memory available", fatal=False)


def _shm(facts: Facts) -> Verdict:
    fix = root(facts, "mount -o remount,size=1g /dev/shm")
    if facts.get("container"):
        fix = "docker run --shm-size=1g …  # a container's is set when it is made"
    total = number(facts, "shm", "total")
    return _at_least("shm", total, _SHM_NEEDED, "of shared memory (/dev/shm)", fatal=True)._replace(fix=fix)


def _port(facts: Facts) -> Iterator[Verdict]:
    if "ports" not in facts:
        return
    free = get(facts, "ports", "8000")
    if free is True:
        yield Verdict("port", "ok", "port 8000 is free")
    elif free is False:
        what = "port 8000, where vLLM's server listens, is taken by another process"
        yield Verdict("port", "warn", what, root(facts, "ss -ltnp 'sport = :8000'"))
    else:
        yield Verdict("port", "warn", "it is unknown whether port 8000 is free")


def _logout(facts: Facts) -> Iterator[Verdict]:
    if facts.get("systemd") is not True:
        return
    # logind's default KillExcludeUsers=root (logind.conf(5)); linger spares a user's processes too.
    if is_root(facts) or get(facts, "logind", "linger") is True:
        yield Verdict("logout", "ok", "processes of this user outlive the log-out")
    elif get(facts, "logind", "kill_user_processes") is True:
        name = text(facts, "user", "name")
        user = shlex.quote(name) if name else "$USER"
        what = "KillUserProcesses=yes: systemd kills a run as soon as the line that started it is closed"
        yield Verdict("logout", "fail", what, root(facts, f"loginctl enable-linger {user}"))
    else:
        yield Verdict("logout", "ok", "processes of this user outlive the log-out (KillUserProcesses is not set)")


def _clock(facts: Facts) -> Iterator[Verdict]:
    """Against this machine's clock, around the exchange (looking.py); a saved file of the probe alone holds none."""
    off = get(facts, "clock", "offset")
    if not isinstance(off, (int, float)) or isinstance(off, bool) or abs(off) != abs(off):
        return
    if abs(off) <= _CLOCK_WARN_S:
        yield Verdict("clock", "ok", "the clock agrees with this machine's")
        return
    fix = root(facts, "timedatectl set-ntp true") if facts.get("systemd") is True else ""
    side = "ahead of" if off > 0 else "behind"
    what = f"the clock is {abs(off):.0f} s {side} this machine's: times of runs will not compare"
    fatal = abs(off) > _CLOCK_FAIL_S
    more = "; certificates and package lists will be refused as not valid yet, or no more" if fatal else ""
    yield Verdict("clock", "fail" if fatal else "warn", what + more, fix)
