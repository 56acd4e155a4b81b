"""This host's part of an engine over several hosts: what it must have, what vLLM is told, which model it holds."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import ipaddress
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.runner import listening, locks
from labctl.runner.failures import SpanError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labctl.runner.events import Events
    from labctl.runner.placement import Span
    from labctl.runner.spec import RunSpec

# Everything that each host needs a share of; their product is vLLM's world size (vllm/config/parallel.py, 0.32.0).
SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size")
BACKENDS = ("mp", "ray")
# Files of weights up to so many bytes are compared whole, larger ones by size and header.
_WHOLE = 1024**3
_HEADER = 16 * 1024 * 1024


def world(engine: Mapping[str, Any]) -> int:
    """How many workers the engine has over all hosts."""
    count = 1
    for name in SIZES:
        count *= int(engine.get(name) or 1)
    return count


def check(asked: RunSpec, span: Span, environment: Mapping[str, str]) -> None:
    """Raise SpanError where this host cannot hold its part: not its address, too few GPUs, no Ray."""
    mine, host = span.addresses[span.rank], span.hosts[span.rank]
    _check_network(mine, host, environment)
    devices = locks.devices(environment)
    share = world(asked.engine) // len(span.hosts)
    if devices not in (["cpu"], ["gpu"]) and len(devices) < share:
        raise SpanError(f"{host} has {len(devices)} GPU(s) to use, and its share of the engine needs {share}")
    if asked.engine.get("distributed_executor_backend") == "ray" and importlib.util.find_spec("ray") is None:
        raise SpanError(f"Ray is not in the environment of {host}: leave distributed_executor_backend at mp")


def _check_network(mine: str, host: str, environment: Mapping[str, str]) -> None:
    try:
        socket.create_server((mine, 0), family=socket.AF_INET6 if ":" in mine else socket.AF_INET).close()
    except OSError as error:
        raise SpanError(f"{host} has no interface with the address {mine} ({error.strerror or error})") from error
    for key, value in _network(mine).items():
        if environment.get(key, value).lstrip("=") != value.lstrip("="):
            raise SpanError(
                f"{key} is {environment[key]!r} on {host} (set by the lab or by the host), and this span needs "
                f"{value}, which labctl sets itself: leave it unset"
            )


def settle(asked: RunSpec, engine: dict[str, Any], events: Events) -> dict[str, Any]:
    """The engine's arguments for this host; sets the variables that keep vLLM's ports on the private address.

    Without a span they are as they were. Emits the event ``span``, by which the hosts compare their models.
    """
    span = asked.span
    if span is None:
        return engine
    engine = {"distributed_executor_backend": "mp", **engine}
    mine = span.addresses[span.rank]
    wanted = _network(mine)
    os.environ.update(wanted)
    interface = wanted["GLOO_SOCKET_IFNAME"]
    told = {"rank": span.rank, "hosts": span.hosts, "addresses": span.addresses, "interface": interface}
    events.emit("span", **told, model=model_print(str(engine["model"])))
    return engine


def tell_ports(asked: RunSpec, run_dir: Path, events: Events) -> None:
    """Emit the event ``listening`` of a host of a span: what can be reached there from elsewhere, without any password.

    PyTorch's rendezvous (TCPStore) listens on every address of the first host, whatever address it was given.
    """
    if asked.span:
        events.emit("listening", ports=listening.of_run(run_dir))


def _network(mine: str) -> dict[str, str]:
    """The variables by which vLLM, gloo, NCCL and TensorPipe stay on the interface with this address.

    Without them each of these chooses an interface itself, which may be the public one. Raises SpanError.
    """
    name = interface_of(mine)
    return {
        "VLLM_HOST_IP": mine,
        "GLOO_SOCKET_IFNAME": name,
        "TP_SOCKET_IFNAME": name,
        "NCCL_SOCKET_IFNAME": f"={name}",  # eth1 alone would mean eth10 too
        "NCCL_SOCKET_FAMILY": "AF_INET6" if ":" in mine else "AF_INET",
    }


def interface_of(address: str) -> str:
    """Name of the network interface that has an address, be it its first one or another, IPv4 or IPv6.

    Raises SpanError where none has it, or where a public address comes before it on its interface: gloo and NCCL are
    told an interface, and take the first address that it has.
    """
    import psutil  # vLLM itself needs it

    wanted = ipaddress.ip_address(address)
    for name, rows in psutil.net_if_addrs().items():
        found = [_address(row.address) for row in rows if row.family in {socket.AF_INET, socket.AF_INET6}]
        if wanted not in found:
            continue
        for before in found[: found.index(wanted)]:
            if before.is_global:
                raise SpanError(
                    f"{address} is on the interface {name} behind the public address {before}, and gloo and NCCL would "
                    "use that one: a span needs an interface whose first address is private"
                )
        return name
    raise SpanError(f"no interface has the address {address}")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text.partition("%")[0])


def model_print(model: str) -> str:
    """A short hash of config.json and weights of a model's folder (or of the hub's copy here), the same on every host.

    Synthetic weights are: they are made by one seed (synthetic.py). "" where there are no files to compare.
    """
    folder = _folder(model)
    if folder is None:
        return ""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin"), folder / "config.json"]):
        if path.is_file():
            size = path.stat().st_size
            digest.update(f"{path.name} {size} ".encode())
            with path.open("rb") as handle:
                whole = hashlib.file_digest(handle, "sha256") if size <= _WHOLE else None
            digest.update(whole.digest() if whole else _head(path))
    return digest.hexdigest()[:16]


def _head(path: Path) -> bytes:
    with path.open("rb") as handle:
        return hashlib.sha256(handle.read(_HEADER)).digest()


def _folder(model: str) -> Path | None:
    if Path(model).is_dir():
        return Path(model)
    with contextlib.suppress(Exception):
        import huggingface_hub

        found = huggingface_hub.try_to_load_from_cache(model, "config.json")
        return Path(found).parent if isinstance(found, str) else None
    return None
