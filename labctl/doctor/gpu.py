"""Verdicts about the GPU: is one there, does its driver serve it, can CUDA start, and what the kernel log says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.doctor import causes, modules
from labctl.doctor.verdict import Verdict, number, root
from labctl.plan.facts import get, rows, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Facts = Mapping[str, Any]

# Ampere and newer compute in bfloat16, in which most models are published (CUDA C++ Programming Guide, 16.).
_BF16 = (8, 0)
_OUTSIDE = "the machine around the container must cure it; ask whoever runs it"


def verdicts(facts: Facts, host: str, plan: Mapping[str, Any] | None) -> Iterator[Verdict]:
    """Without a GPU there is but one: that there is none."""
    listed = rows(facts, "gpus")
    on_bus = sum(row.get("kind") == "gpu" for row in rows(facts, "nvidia", "pci"))
    if not listed and not on_bus and get(facts, "nvidia", "nvml") is None:
        yield Verdict("gpu", "warn", "no NVIDIA GPU: runs use vLLM's CPU build, and show how things work, not how fast")
        return
    yield _gpu(facts, listed, on_bus)
    yield _driver(facts, host, plan, listed)
    if not facts.get("container"):
        yield from modules.verdicts(facts, host)
    yield from modules.fabric(facts, host)
    yield from _cuda(facts)
    yield from _bf16(listed, host)
    yield from _xid(facts)


def _gpu(facts: Facts, listed: list[Mapping[str, Any]], on_bus: int) -> Verdict:
    if listed:
        names = ", ".join(text(row, "name") or "a GPU" for row in listed)
        lost = on_bus - len(listed)
        if lost > 0 and not facts.get("container"):
            what = f"{len(listed)} GPU: {names}; {lost} more on the PCI bus that the driver does not list"
            return Verdict("gpu", "warn", what, root(facts, "dmesg | grep -i nvrm"))
        return Verdict("gpu", "ok", f"{len(listed)} GPU: {names}")
    if on_bus and facts.get("container") and get(facts, "nvidia", "nvml") is None:
        what = f"the machine has {on_bus} NVIDIA GPU, but this container was not given one"
        return Verdict("gpu", "warn", what, "docker run --gpus all …  # decided when a container is made")
    return Verdict("gpu", "fail", f"{on_bus or 'an'} NVIDIA GPU here that no program can use: see driver")


def _driver(facts: Facts, host: str, plan: Mapping[str, Any] | None, listed: list[Mapping[str, Any]]) -> Verdict:
    version, cuda = text(facts, "nvidia", "driver"), text(facts, "nvidia", "cuda")
    held, code = get(facts, "nvidia", "nvml"), number(facts, "nvidia", "nvml", "code")
    if held is not None and code != 0:
        return _refused(facts, code, text(facts, "nvidia", "nvml", "name"))
    if listed:
        return Verdict("driver", "ok", f"driver {version or 'unknown'}, good for CUDA {cuda or 'unknown'}")
    if facts.get("container"):
        return Verdict("driver", "warn", "no driver's libraries in this container: they come with the GPU it is given")
    if get(facts, "nvidia", "module", "version"):
        what = f"driver {get(facts, 'nvidia', 'module', 'version')} is installed, but lists no GPU"
        return Verdict("driver", "fail", what, root(facts, "modprobe nvidia && nvidia-smi"))
    fix = (
        f"labctl provision {host}"
        if get(plan, "driver", "action") == "install"
        else f"labctl provision {host} --driver"
    )
    return Verdict("driver", "fail", "a GPU without a driver", fix)


def _refused(facts: Facts, code: int | None, said: str | None) -> Verdict:
    if code is None:
        what = f"the driver does not answer ({said or 'no answer'}): a GPU or its driver hangs"
        return Verdict("driver", "fail", what, root(facts, "reboot"))
    cause = causes.nvml(code)
    what = f"NVML says {code} ({cause.name}): {cause.meaning}"
    module, library = text(facts, "nvidia", "module", "version"), text(facts, "nvidia", "library")
    mismatch = code == 18  # noqa: PLR2004 - as in nvml.h
    if mismatch and module and library:
        what += f"; here module {module}, libraries {library}"
    if facts.get("container"):
        return Verdict("driver", "fail", f"{what}; {_OUTSIDE}", "nvidia-smi")
    fixes = {9: "modprobe nvidia", 15: "reboot", 16: "nvidia-smi --gpu-reset", 18: "reboot", 999: "modprobe nvidia-uvm"}
    return Verdict("driver", "fail", what, root(facts, fixes.get(code, "nvidia-smi")))


def _cuda(facts: Facts) -> Iterator[Verdict]:
    code = number(facts, "nvidia", "cuinit")
    if code == 0:
        yield Verdict("cuda", "ok", "CUDA starts (cuInit gives 0)")
    elif code is not None:
        cause = causes.cuda(code)
        fixes = {
            802: root(facts, "systemctl enable --now nvidia-fabricmanager"),
            803: "ldconfig -p | grep libcuda; echo $LD_LIBRARY_PATH"
            if facts.get("container")
            else root(facts, "reboot"),
            804: "unset LD_LIBRARY_PATH  # and see that no profile sets it to a folder cuda/compat",
            999: root(facts, "modprobe nvidia-uvm"),
        }
        what = f"cuInit gives {code} ({cause.name}): {cause.meaning}"
        outside = facts.get("container") and code in {802, 999}
        more = f"; {_OUTSIDE}" if outside else ""
        yield Verdict("cuda", "fail", what + more, "nvidia-smi -q" if outside else fixes.get(code, "nvidia-smi"))
    elif number(facts, "nvidia", "nvml", "code") == 0:
        yield Verdict(
            "cuda", "warn", "it is unknown whether CUDA starts: libcuda is not here, or did not answer in time"
        )


def _bf16(listed: list[Mapping[str, Any]], host: str) -> Iterator[Verdict]:
    found = {value: parts for row in listed if (value := text(row, "compute_cap")) and (parts := _capability(value))}
    if not found:
        if listed:
            yield Verdict("bf16", "warn", "the GPU's compute capability is unknown")
        return
    weakest = min(found, key=lambda value: found[value])
    if found[weakest] >= _BF16:
        yield Verdict("bf16", "ok", f"compute capability {weakest}: bfloat16")
    else:
        what = f"compute capability {weakest} has no bfloat16 (8.0 has): float16 is used in its place"
        yield Verdict("bf16", "warn", what, f"labctl run offline --host {host} --engine dtype=float16")


def _capability(value: str) -> tuple[int, ...]:
    parts = value.split(".")
    return tuple(map(int, parts)) if all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts) else ()  # noqa: PLR2004


def _xid(facts: Facts) -> Iterator[Verdict]:
    if get(facts, "nvidia", "xid") is None:
        what = "the kernel log cannot be read by this user: whether the GPU had errors (Xid) is unknown"
        yield Verdict("xid", "warn", what, root(facts, "dmesg | grep 'NVRM: Xid'"))
        return
    found = [row for row in rows(facts, "nvidia", "xid") if number(row, "code") is not None]
    if not found:
        yield Verdict("xid", "ok", "no error of the GPU (Xid) in the kernel log since the machine started")
        return
    codes = [number(row, "code") or 0 for row in found]
    told = [_told(row, code) for row, code in zip(found, codes, strict=True)]
    level = "fail" if any(map(causes.broken, codes)) else "warn"
    yield Verdict("xid", level, f"{'; '.join(told)} ({causes.XID_SOURCE})", root(facts, "dmesg | grep 'NVRM: Xid'"))


def _told(row: Mapping[str, Any], code: int) -> str:
    known = causes.xid(code)
    times = number(row, "count")
    often = f" ({times}×)" if times is not None and times > 1 else ""
    return f"Xid {code}{often}: {known.meaning}{f': {known.help}' if known.help else ''}"
