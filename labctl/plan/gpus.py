"""Is there a GPU, which driver serves it, and what is to be done about the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from labctl import drivers
from labctl.plan.facts import Impossible, get, rows, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labctl.plan.facts import Wishes


class Gpu(NamedTuple):
    """`state`: works, broken (the driver does not answer), bare (no driver), unseen (not handed in), none, unknown.

    Or away (given to virtual machines). `weakest` has `capability`; GPUs too old for every lock do not count there
    beside others.
    """

    state: str
    driver: str | None = None
    capability: str | None = None
    weakest: str = "this one"
    names: tuple[str, ...] = ()
    why: str = ""


def look(facts: Mapping[str, object]) -> Gpu:
    """What NVML, the kernel module and the PCI bus say together."""
    listed = rows(facts, "gpus")
    driver = text(facts, "nvidia", "driver") or next((v for row in listed if (v := text(row, "driver_version"))), None)
    if listed:
        return _listed(listed, driver)
    on_bus = [row for row in rows(facts, "nvidia", "pci") if row.get("kind") == "gpu"]
    ours = [row for row in on_bus if row.get("driver") != "vfio-pci"]
    if on_bus and not ours:
        return Gpu("away", why="a GPU that is given to virtual machines (its driver is vfio-pci)")
    return _unlisted(facts, driver, len(ours))


def _listed(listed: list[Mapping[str, Any]], driver: str | None) -> Gpu:
    names = tuple(text(row, "name") or "a GPU" for row in listed)
    able = [(value, name) for row, name in zip(listed, names, strict=True) if (value := _capability(row))]
    oldest = min(drivers.number(row.capability) for row in drivers.CUDA)
    served = [pair for pair in able if drivers.number(pair[0]) >= oldest]
    old = [pair for pair in able if pair not in served] if served else []
    weakest = min(served or able, key=lambda pair: drivers.number(pair[0]), default=None)
    capability, name = weakest or (None, "this one")
    why = f"{', '.join(names)} with driver {driver or 'unknown'}"
    if old:
        said = " and ".join(f"{who} ({able_to})" for able_to, who in dict.fromkeys(old))
        why += f", where no lock runs on {said}: keep it out by CUDA_VISIBLE_DEVICES, or set vllm_variant to cpu"
    return Gpu("works", driver, capability, name, names, why)


def _capability(row: Mapping[str, Any]) -> str | None:
    found = text(row, "compute_cap")
    return found if found and drivers.number(found) else None


def _unlisted(facts: Mapping[str, object], driver: str | None, on_bus: int) -> Gpu:
    """NVML lists no GPU: one may be there all the same."""
    module = text(facts, "nvidia", "module", "version")
    code, said = get(facts, "nvidia", "nvml", "code"), text(facts, "nvidia", "nvml", "name")
    inside = text(facts, "container")
    if isinstance(code, int) and code != 0 and (on_bus or module):
        return Gpu("broken", driver or module, why=f"the driver does not answer (NVML: {said or code})")
    if on_bus and inside:
        return Gpu("unseen", why=f"the machine has a GPU that this container ({inside}) was not given")
    if on_bus and module:
        return Gpu("broken", driver or module, why=f"driver {module} is there, but NVML lists no GPU")
    if on_bus:
        return Gpu("bare", why="a GPU on the PCI bus without a driver")
    if get(facts, "gpus") is None and get(facts, "nvidia") is None:
        return Gpu("unknown", why="nothing is known of a GPU")
    return Gpu("none", why="no NVIDIA GPU")


def driver(facts: Mapping[str, object], gpu: Gpu, asked: Wishes, *, root: bool) -> dict[str, str]:
    """What happens to the driver, and why. Raises Impossible where `install` was asked for and cannot be."""
    hindered = _hindered(facts, gpu, root=root)
    if asked.gpu_driver == "install":
        if hindered:
            raise Impossible(f"gpu_driver is install, but {hindered}. Set it to auto or leave.")
        return {"action": "install", "why": f"asked for: branch {drivers.BRANCH}"}
    if gpu.state in {"none", "unknown"}:
        return {"action": "none", "why": gpu.why}
    if gpu.state == "bare" and asked.gpu_driver == "auto" and not hindered and get(facts, "systemd"):
        return {"action": "install", "why": f"{gpu.why}: branch {drivers.BRANCH} serves every lock"}
    return {"action": "leave", "why": _left(gpu, asked, hindered)}


def _hindered(facts: Mapping[str, object], gpu: Gpu, *, root: bool) -> str:
    inside = text(facts, "container")
    if inside:
        return f"inside a container ({inside}) no driver can be installed: it belongs to the machine around it"
    if "microsoft" in (text(facts, "kernel") or "").lower():
        return "in WSL no driver can be installed: it belongs to the Windows around it"
    if gpu.state == "away":
        return f"there is {gpu.why}"
    if gpu.driver and drivers.number(gpu.driver)[:1] > drivers.number(drivers.BRANCH):
        return f"driver {gpu.driver} is newer than branch {drivers.BRANCH}, which would be a step back"
    if not root:
        return "no driver can be installed without root or sudo"
    return "" if text(facts, "package_manager") else "no driver can be installed without apt-get or dnf"


def _left(gpu: Gpu, asked: Wishes, hindered: str) -> str:
    if gpu.state == "works":
        return f"driver {gpu.driver or 'unknown'} works and is left untouched"
    if asked.gpu_driver == "leave":
        return f"{gpu.why}; gpu_driver is leave"
    if gpu.state == "away":
        return gpu.why
    if gpu.state == "bare":
        return f"{gpu.why}; {hindered or 'without systemd none is installed unasked'}"
    return f"{gpu.why}: labctl doctor says what cures it"
