"""Private addresses are named and checked, and a shape that vLLM could not lay over the hosts is refused."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl import labs, spans
from labctl.errors import UsageError
from labctl.inventory import Host


def host(name: str, **variables: Any) -> Host:
    return Host(name=name, connection="ssh", lab_dir="labctl", address="192.0.2.1", vars=variables)


GPU1, GPU2 = host("gpu1", span_address="10.0.0.1"), host("gpu2", span_address="10.0.0.2")
PRIVATE = [ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")]


def test_addresses_come_from_the_inventory_or_the_option() -> None:
    assert spans.addresses([GPU1, GPU2]) == ("10.0.0.1", "10.0.0.2")
    assert spans.addresses([GPU1, GPU2], "gpu2=192.168.7.2") == ("10.0.0.1", "192.168.7.2")
    assert spans.addresses([host("a"), host("b")], " a=fd00::1 , b=fd00:0::2 ") == ("fd00::1", "fd00::2")


def test_none_is_guessed() -> None:
    with pytest.raises(UsageError, match=r"no private address is named for gpu2: write span_address=.*none is guessed"):
        spans.addresses([GPU1, host("gpu2", ansible_host="10.0.0.2")])


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("8.8.8.8", "a public address: between its hosts vLLM has ports without any password"),
        ("2001:4860:4860::8888", "a public address"),
        ("::ffff:8.8.8.8", "address"),
        ("127.0.0.1", "its own loopback"),
        ("::1", "its own loopback"),
        ("0.0.0.0", "not a private address"),  # noqa: S104 - refused
        ("169.254.169.254", "not a private address"),
        ("224.0.0.1", "address"),
        ("203.0.113.9", "not a private address"),
        ("gpu2.internal", "is no IP address"),
        ("10.0.0.1/8", "is no IP address"),
        ("10.0.0.01", "is no IP address"),
    ],
)
def test_what_is_not_private_is_refused_with_its_reason(address: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        spans.addresses([GPU1, host("gpu2", span_address=address)])


@settings(deadline=None)
@given(st.ip_addresses())
def test_only_addresses_of_private_networks_pass(address: Any) -> None:
    inside = any(address.version == net.version and address in net for net in PRIVATE)
    try:
        found = spans.addresses([GPU1, host("gpu2", span_address=str(address))])
    except UsageError:
        assert not inside or str(address) == "10.0.0.1"
    else:
        assert inside
        assert ip_address(found[1]) == address


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        ("gpu1", "takes HOST=ADDRESS"),
        ("=10.0.0.1", "takes HOST=ADDRESS"),
        ("gpu3=10.0.0.3", "gpu3, which is none of gpu1, gpu2"),
        ("gpu1=10.0.0.2", "have the same private address 10.0.0.2"),
    ],
)
def test_an_option_that_makes_no_sense_says_so(given_: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        spans.addresses([GPU1, GPU2], given_)


CPU = {"gpu1": "cpu", "gpu2": "cpu"}
CUDA = {"gpu1": "cuda", "gpu2": "cuda"}


@pytest.mark.parametrize(
    ("engine", "variants"),
    [
        ({"tensor_parallel_size": 2}, CPU),
        ({"tensor_parallel_size": 8}, CUDA),
        ({"tensor_parallel_size": 4, "pipeline_parallel_size": 2}, CUDA),
        ({"pipeline_parallel_size": 2, "distributed_executor_backend": "ray"}, CUDA),
        ({"tensor_parallel_size": 2}, {}),
    ],
)
def test_what_vllm_can_lay_over_two_hosts(engine: dict[str, Any], variants: dict[str, str | None]) -> None:
    spans.check(engine, [GPU1, GPU2], variants)


@pytest.mark.parametrize(
    ("engine", "variants", "why"),
    [
        ({}, CPU, "not 1"),
        ({"tensor_parallel_size": 3}, CUDA, r"workers in all, not 3 \(tensor_parallel_size\)"),
        ({"tensor_parallel_size": 4}, CPU, "on CPUs each host takes one worker"),
        ({"pipeline_parallel_size": 2}, CPU, "AssertionError at the first request"),
        ({"tensor_parallel_size": 2, "distributed_executor_backend": "ray"}, CPU, "does not support Ray"),
        ({"tensor_parallel_size": 2, "data_parallel_size": 2}, CUDA, "data_parallel_size asks for several"),
        ({"tensor_parallel_size": 2, "distributed_executor_backend": "uni"}, CUDA, "must be mp or ray"),
        ({"tensor_parallel_size": 2}, {"gpu1": "cpu", "gpu2": "cuda"}, "same build: gpu1 has cpu, gpu2 has cuda"),
    ],
)
def test_what_it_can_not_is_said_before_anything_starts(
    engine: dict[str, Any], variants: dict[str, str | None], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        spans.check(engine, [GPU1, GPU2], variants)


def test_hosts_with_another_vllm_are_named() -> None:
    spans.same_version({"gpu1": "0.32.0", "gpu2": "0.32.0"})
    with pytest.raises(UsageError, match=r"gpu1 has 0\.32\.0, gpu2 has 0\.33\.0") as caught:
        spans.same_version({"gpu1": "0.32.0", "gpu2": "0.33.0"})
    assert caught.value.next_command == "labctl provision gpu2"


def test_each_host_gets_its_own_part() -> None:
    asked = labs.build(labs.read("server"), vllm="0.32.0", env={}, engine=["tensor_parallel_size=2"])
    first, second = spans.parts(asked, [GPU1, GPU2], ["10.0.0.1", "10.0.0.2"], ["r1", "r2"])
    assert first.span is not None
    assert second.span is not None
    assert (first.span.rank, second.span.rank) == (0, 1)
    assert first.span.hosts == second.span.hosts == ("gpu1", "gpu2")
    assert (first.span.runs, first.span.addresses) == (("r1", "r2"), ("10.0.0.1", "10.0.0.2"))
    assert first.engine == second.engine
