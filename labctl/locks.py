"""Hashed requirement locks: read into entries, and cut down to what one host installs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a PyTorch that is there brings with it, of whatever build: its CUDA libraries (torch's own Requires-Dist,
# 2.10 to 2.14), which a conda or a vendor's build keeps elsewhere. A second set beside them would be loaded by name,
# first come first served. Bindings (cuda-bindings, nvidia-ml-py, nvidia-cutlass-dsl, …) are not of these.
_TORCH_LIBRARIES = re.compile(
    r"cuda-toolkit|nvidia-(cublas|cuda-(cupti|nvrtc|runtime)|cudnn|cufft|cufile|curand|cusolver|cusparse|cusparselt"
    r"|nccl|nvjitlink|nvshmem|nvtx)(-cu\d+)?"
)
# Built against one build of torch: those beside it fit it, those of the lock fit PyPI's.
_TORCH_COMPANIONS = frozenset({"torchvision", "torchaudio", "triton"})


class Entry(NamedTuple):
    """One package of a lock; `name` is canonical, `marker` empty where the entry is for every machine."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    def text(self, operator: str = "==") -> str:
        """The entry as a lock has it."""
        first = f"{self.name}{operator}{self.version}" + (f" ; {self.marker}" if self.marker else "")
        return " \\\n    --hash=".join([first, *self.hashes]) + "\n"


def parse(text: str) -> list[Entry]:
    """Entries of a lock, in order. Raises UsageError for a line that is no pinned and hashed requirement."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    found = []
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        head, *hashes = re.split(r"\s+--hash=", line.strip())
        if not head or head.startswith("#"):
            continue
        try:
            required = Requirement(head)
        except InvalidRequirement as error:
            raise UsageError(f"the lock has a line that is no requirement: {head!r} ({error})") from error
        pins = [pin.version for pin in required.specifier if pin.operator in {"==", "==="}]
        if len(pins) != 1 or len(required.specifier) != 1 or not hashes:
            raise UsageError(f"the lock has an entry without one version and its hashes: {head!r}")
        marker = str(required.marker or "")
        found.append(Entry(canonicalize_name(required.name), pins[0], marker, tuple(one.strip() for one in hashes)))
    return found


def chosen(entries: list[Entry], plan: Mapping[str, Any]) -> tuple[list[Entry], dict[str, str]]:
    """The entries that a plan installs, without markers, and the names left out with the reason."""
    there = dict((plan.get("existing") or {}).get("packages") or {})
    kept, out = [], {}
    for entry in entries:
        if not holds(entry.marker, str(plan["python"])):
            continue
        why = dict(plan.get("without") or {}).get(entry.name) or (
            _there(entry, there) if plan["mode"] == "existing" else ""
        )
        if why:
            out[entry.name] = why
        else:
            kept.append(entry._replace(marker=""))
    return kept, out


def filtered(text: str, plan: Mapping[str, Any]) -> str:
    """The text of a lock, cut down to what a plan installs. Raises UsageError for a broken lock."""
    return "".join(entry.text(_operator(entry)) for entry in chosen(parse(text), plan)[0])


def _operator(entry: Entry) -> str:
    """To uv 2.13.0+cpu, in a folder that pip is pointed at, is a 2.13.0, and the newer one: PyTorch's takes `===`."""
    return "===" if entry.name in {"torch", *_TORCH_COMPANIONS} and "+" not in entry.version else "=="


def _there(entry: Entry, there: Mapping[str, str]) -> str:
    if entry.name == "torch" or _TORCH_LIBRARIES.fullmatch(entry.name):
        return "PyTorch is there and brings its own"
    if entry.name in _TORCH_COMPANIONS and entry.name in there:
        return f"{there[entry.name]} is there, made for the PyTorch beside it"
    return "the same version is there" if there.get(entry.name) == entry.version else ""


def holds(marker: str, python: str) -> bool:
    """Whether a marker is true of a Python (3.12) as labctl's locks have it: CPython on Linux x86_64."""
    from packaging.markers import Marker

    return not marker or Marker(marker).evaluate(
        {
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": "x86_64",
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{python}.0",
            "python_version": python,
            "sys_platform": "linux",
        }
    )
