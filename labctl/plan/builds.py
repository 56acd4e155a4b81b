"""CPU or CUDA, and which lock: the newest vLLM that this host's driver, GPU, C library and wishes allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from labctl import drivers
from labctl.plan.facts import Impossible, rows, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labctl.drivers import Lock
    from labctl.plan.facts import Wishes
    from labctl.plan.gpus import Gpu

# Tutorials begin so; vLLM's releases for 3.10 end with 0.31.0, and pip takes the newest that fits without a word.
OLD_PYTHON = (
    "the tutorial's `conda create … python=3.10` silently gets an old vLLM today: 0.31.0 is the last that takes "
    "Python 3.10, every later one needs 3.11 or newer"
)


class Choice(NamedTuple):
    """A lock with the reason, and the Python with a fitting PyTorch that it builds on (or None)."""

    lock: Lock
    why: str
    existing: Mapping[str, object] | None = None


def supported(facts: Mapping[str, object]) -> None:
    """Raise Impossible where no lock has wheels at all; an unknown fact is no obstacle."""
    kernel, arch = text(facts, "kernel") or "", text(facts, "arch")
    system = text(facts, "system") or ("Darwin" if "darwin" in kernel.lower() else "Linux")
    if system != "Linux" or text(facts, "os", "id") in {"macos", "darwin", "windows"}:
        raise Impossible(f"A lab needs Linux on x86_64; this host runs {text(facts, 'os', 'name') or system}.")
    if arch and arch not in {"x86_64", "amd64"}:
        raise Impossible(f"This host is {arch}: labctl's locks hold wheels for Linux on x86_64 only.")
    libc = text(facts, "libc", "name")
    if libc and libc != "glibc":
        raise Impossible(f"The wheels of PyTorch and vLLM need glibc; this host has {libc}.")


def variant(gpu: Gpu, asked: Wishes, action: str) -> tuple[str, str]:
    """``cpu`` or ``cuda``, and why. Raises Impossible for cuda without a GPU."""
    usable = gpu.state in {"works", "broken"} or action == "install"
    if asked.vllm_variant == "cpu":
        return "cpu", "asked for"
    if asked.vllm_variant == "cuda":
        if not usable and gpu.state != "unknown":
            raise Impossible(f"vllm_variant is cuda, but there is {gpu.why}. Set it to auto or cpu.")
        return "cuda", "asked for"
    return ("cuda", gpu.why) if usable else ("cpu", gpu.why)


def obstacle(lock: Lock, facts: Mapping[str, object], gpu: Gpu, asked: Wishes, *, install: bool) -> str:
    """What keeps this lock off this host, as the rest of a sentence; empty where nothing does."""
    cuda, libc = drivers.cuda(lock.cuda), text(facts, "libc", "version")
    if cuda and gpu.driver and not install and drivers.number(gpu.driver) < drivers.number(cuda.driver):
        return f"needs driver {cuda.driver} or newer (CUDA {cuda.version}), this host has {gpu.driver}"
    if cuda and gpu.capability and drivers.number(gpu.capability) < drivers.number(cuda.capability):
        return f"needs a GPU of compute capability {cuda.capability} or newer, {gpu.weakest} has {gpu.capability}"
    if libc and drivers.number(libc) < drivers.number(lock.glibc):
        return f"needs glibc {lock.glibc} or newer, this host has {libc}"
    if asked.vllm_python not in {"auto", *lock.pythons}:
        old = drivers.number(asked.vllm_python) < (3, 11)
        return f"has wheels for Python {', '.join(lock.pythons)}, not {asked.vllm_python}" + (
            f" ({OLD_PYTHON})" if old else ""
        )
    return ""


def choose(facts: Mapping[str, object], gpu: Gpu, asked: Wishes, kind: str, *, install: bool) -> Choice:
    """The lock for this host. Raises Impossible, naming what would run where something would."""
    hindered = [(lock, obstacle(lock, facts, gpu, asked, install=install)) for lock in drivers.locks(kind)]
    fit = [lock for lock, why in hindered if not why]
    wanted = [lock for lock, _ in hindered if asked.vllm_version in {"auto", lock.vllm}]
    if not wanted:
        raise Impossible(_no_lock(asked.vllm_version, kind))
    able = [lock for lock in wanted if lock in fit]
    if not able:
        raise Impossible(_hindered([(lock, why) for lock, why in hindered if lock in wanted], fit))
    if asked.python_env_mode == "existing" or (asked.python_env_mode == "auto" and kind == "cuda"):
        found = _on_existing(facts, asked, able)
        if found:
            return found
    if asked.python_env_mode == "existing":
        raise Impossible(_no_torch(facts, able))
    return Choice(able[0], _why(able[0], hindered[: [lock for lock, _ in hindered].index(able[0])], gpu, asked))


def _why(lock: Lock, passed: list[tuple[Lock, str]], gpu: Gpu, asked: Wishes) -> str:
    if asked.vllm_version != "auto":
        return f"vLLM {lock.vllm} was asked for and can run here"
    if not lock.cuda:
        return f"vLLM {lock.vllm} is the newest that labctl has a CPU lock for"
    if passed:
        return f"vLLM {lock.vllm} is the newest that can run here: {passed[0][0].vllm} {passed[0][1]}"
    met = f"driver {gpu.driver} runs it" if gpu.driver and gpu.state == "works" else "the driver will run it"
    return f"vLLM {lock.vllm} is the newest that labctl has a CUDA lock for, and {met}"


def _on_existing(facts: Mapping[str, object], asked: Wishes, able: list[Lock]) -> Choice | None:
    for lock in able:
        for row in rows(facts, "pythons"):
            if fits(row, lock) and asked.vllm_python in {"auto", text(row, "version")}:
                where, torch = text(row, "executable"), text(row, "torch", "version")
                return Choice(lock, f"{where} has PyTorch {torch}, which vLLM {lock.vllm} was built for", row)
    return None


def fits(row: Mapping[str, object], lock: Lock) -> bool:
    """Whether a Python holds the PyTorch that a lock was made for: same version, and CUDA of the same major."""
    torch = text(row, "torch", "version")
    if not torch or torch.partition("+")[0] != lock.torch or not text(row, "executable"):
        return False
    return text(row, "version") in lock.pythons and row.get("whole") is not False and _cuda(row, torch) == _major(lock)


def _cuda(row: Mapping[str, object], torch: str) -> int | None:
    """CUDA's major of an installed PyTorch, from what it says or from its local version (+cu130)."""
    said = drivers.number(text(row, "torch", "cuda") or "")
    if said:
        return said[0]
    local = torch.partition("+cu")[2]
    # Not isdigit: that takes ², which int does not.
    return int(local[:2]) if local[:2].isascii() and local[:2].isdecimal() else None


def _major(lock: Lock) -> int | None:
    return drivers.number(lock.cuda)[0] if lock.cuda else None


def _no_lock(version: str, kind: str) -> str:
    names = ", ".join(f"{lock.vllm} ({lock.variant})" for name in ("cpu", "cuda") for lock in drivers.locks(name))
    row = drivers.release(version)
    known = f" (its wheels take PyTorch {row.torch} and CUDA {row.cuda})" if row else ""
    return f"There is no lock for vLLM {version}, variant {kind}{known}; there are: {names}."


def _hindered(reasons: list[tuple[Lock, str]], fit: list[Lock]) -> str:
    said = "; ".join(f"{lock.vllm} {why}" for lock, why in reasons)
    if fit:
        return f"vLLM {said}. vLLM {fit[0].vllm} would run here: set vllm_version to auto or to {fit[0].vllm}."
    return f"No vLLM that labctl has a lock for runs here: {said}.{_cure([why for _, why in reasons])}"


def _cure(reasons: list[str]) -> str:
    if all(why.startswith("needs driver") for why in reasons):
        return " A newer driver (gpu_driver: install, where one can be) or vllm_variant: cpu would."
    return " vllm_variant: cpu would." if any(why.startswith("needs a GPU") for why in reasons) else ""


def _no_torch(facts: Mapping[str, object], able: list[Lock]) -> str:
    held = [
        f"{text(row, 'executable')}: {torch}"
        for row in rows(facts, "pythons")
        if (torch := text(row, "torch", "version"))
    ]
    needed = ", ".join(
        f"{lock.torch} for vLLM {lock.vllm}" + (f" (CUDA {lock.cuda})" if lock.cuda else " (CPU)") for lock in able
    )
    found = f"what there is: {'; '.join(held)}" if held else "no Python here has PyTorch"
    return (
        f"python_env_mode is existing, but no Python here holds a PyTorch that fits a lock: {found}; needed: {needed}."
    )
