"""One engine over several hosts, as the laptop plans it: private addresses by name, and a shape that vLLM can run."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import TYPE_CHECKING, Any

from labctl.errors import UsageError
from labctl.runner import span_part
from labctl.runner.placement import Span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labctl.inventory import Host
    from labctl.runner.spec import RunSpec

# The host variable that names a host's private address.
VARIABLE = "span_address"
# RFC 1918, RFC 6598 (what overlay networks such as Tailscale's use) and RFC 4193; nothing else is private enough.
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
_WHY = (
    "between its hosts vLLM has ports without any password, and whoever reaches them can take part in the engine and "
    "run code there: they belong into a private network (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, "
    "fc00::/7)"
)
# Of these every value above 1 would need a plan of its own over the hosts.
_NOT_SPANNED = ("data_parallel_size",)
# By these vLLM would open such ports wherever it is told to; a span gives them itself, checked.
_OWN = ("nnodes", "node_rank", "master_addr", "master_port", "data_parallel_address", "data_parallel_rpc_port")


def addresses(hosts: Sequence[Host], given: str = "") -> tuple[str, ...]:
    """The private address of each host: named by ``given`` (``gpu1=10.0.0.1,gpu2=10.0.0.2``) or by its host variable.

    Never guessed. Raises UsageError: missing, public, no address at all, or the same twice.
    """
    named = _named(given, {host.name for host in hosts})
    found: list[str] = []
    for host in hosts:
        text = named.get(host.name) or str(host.vars.get(VARIABLE) or "")
        if not text:
            raise UsageError(
                f"no private address is named for {host.name}: write {VARIABLE}=10.0.0.1 (its own) behind it in the "
                f"inventory, or give --span-address {host.name}=ADDRESS; none is guessed, for {_WHY}"
            )
        found.append(_private(host.name, text))
        if found[-1] in found[:-1]:
            other = hosts[found.index(found[-1])].name
            raise UsageError(f"{other} and {host.name} have the same private address {found[-1]}: each needs its own")
    return tuple(found)


def _named(given: str, hosts: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in given.split(","))):
        name, mark, address = (word.strip() for word in part.partition("="))
        if not mark or not name or not address:
            raise UsageError(f"--span-address takes HOST=ADDRESS,HOST=ADDRESS, not {part!r}")
        if name not in hosts:
            raise UsageError(f"--span-address names {name}, which is none of {', '.join(sorted(hosts))}")
        found[name] = address
    return found


def _private(host: str, text: str) -> str:
    """The address in its canonical text. Raises UsageError where it is not a private one, saying why that matters."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise UsageError(
            f"{text!r} of {host} is no IP address: a name could come to mean another one, so it must be a number"
        ) from None
    if address.is_loopback:
        raise UsageError(f"{text} of {host} is its own loopback, which no other host can reach")
    if not any(address.version == net.version and address in net for net in _PRIVATE):
        kind = "a public address" if address.is_global else "not a private address"
        raise UsageError(f"{text} of {host} is {kind}: {_WHY}")
    return str(address)


def refuse(engine: Mapping[str, Any]) -> None:
    """Raise UsageError where a lab asks vLLM itself for several hosts, past all that is checked here."""
    for name in _OWN:
        if name in engine:
            raise UsageError(
                f"{name} is no engine argument of a lab: --span HOST,HOST asks for several hosts, for {_WHY}"
            )


def check(engine: Mapping[str, Any], hosts: Sequence[Host], variants: Mapping[str, str | None]) -> None:
    """Raise UsageError where vLLM could not lay this engine over these hosts. ``variants``: "cpu" or "cuda" by host."""
    many = len(hosts)
    for name in _NOT_SPANNED:
        if int(engine.get(name) or 1) > 1:
            raise UsageError(f"labctl lays one engine over hosts, and {name} asks for several: leave it at 1")
    backend = engine.get("distributed_executor_backend", "mp")
    if backend not in span_part.BACKENDS:
        raise UsageError(
            f"over hosts distributed_executor_backend must be {' or '.join(span_part.BACKENDS)}, not {backend!r}"
        )
    world, parts = span_part.world(engine), " x ".join(name for name in span_part.SIZES if engine.get(name)) or "1"
    if world % many:
        raise UsageError(
            f"{many} hosts need an engine of {many}, {2 * many}, ... workers in all, not {world} ({parts}): give "
            f"--engine tensor_parallel_size={many}"
        )
    _same("build", variants)
    if "cpu" in variants.values():
        _check_cpu(engine, many, world)


def _check_cpu(engine: Mapping[str, Any], many: int, world: int) -> None:
    if engine.get("distributed_executor_backend") == "ray":
        raise UsageError("vLLM's CPU platform does not support Ray (0.32.0): leave distributed_executor_backend at mp")
    if int(engine.get("pipeline_parallel_size") or 1) > 1:
        raise UsageError(
            "on CPUs vLLM's pipeline does not run over hosts: it gets ready and then dies of an AssertionError at the "
            f"first request (tried with 0.32.0): give --engine tensor_parallel_size={many} instead"
        )
    if world != many:
        raise UsageError(
            f"on CPUs each host takes one worker: {many} hosts need --engine tensor_parallel_size={many}, not {world}"
        )


def same_version(versions: Mapping[str, str | None]) -> None:
    """Raise UsageError naming the hosts where they have different versions of vLLM."""
    _same("version of vLLM", versions)


def _same(what: str, found: Mapping[str, str | None]) -> None:
    if len(set(found.values())) > 1:
        told = ", ".join(f"{name} has {value or 'an unknown one'}" for name, value in found.items())
        odd = next(name for name, value in found.items() if value != next(iter(found.values())))
        raise UsageError(f"the hosts of one engine need the same {what}: {told}", f"labctl provision {odd}")


def parts(asked: RunSpec, hosts: Sequence[Host], private: Sequence[str], runs: Sequence[str]) -> list[RunSpec]:
    """The spec of each host, in the order of ranks. Raises SpecError."""
    made = []
    for rank in range(len(hosts)):
        names = tuple(host.name for host in hosts)
        span = Span(hosts=names, addresses=tuple(private), runs=tuple(runs), rank=rank)
        made.append(dataclasses.replace(asked, span=span))
        made[-1].check()
    return made
