"""What the inventory wants for a host, as the plan takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labctl.inventory import Host

_SAME = ("vllm_version", "vllm_variant", "vllm_python", "python_env_mode", "vllm_without")
_OTHERWISE = {"gpu_driver": "gpu_driver_action", "container_runtime": "container_runtime_action"}


def of(host: Host) -> dict[str, Any]:
    """Wishes from the host's variables; one that Ansible has yet to fill in ({{ … }}) is left to it."""
    names = {**{name: name for name in _SAME}, **_OTHERWISE}
    found = {wish: host.vars[name] for wish, name in names.items() if name in host.vars}
    return {wish: value for wish, value in found.items() if "{{" not in str(value)}
