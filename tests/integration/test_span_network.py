"""Which interface an engine over several hosts is told, in a network of its own with addresses of all sorts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.e2e.conftest import ROOT

ADDRESSES = (
    "ip link set lo up",
    "ip link add eth0 type veth peer name eth1",
    "ip link add eth2 type veth peer name eth3",
    "ip addr add 10.9.0.1/24 dev eth0",
    "ip addr add 10.9.0.2/24 dev eth0",  # a second one of the same network
    "ip addr add fd00::9/64 dev eth0 nodad",
    "ip addr add 8.8.8.8/24 dev eth1",
    "ip addr add 10.8.0.1/24 dev eth1",
    "ip addr add fd00::8/64 dev eth1 nodad",
    "ip addr add 10.7.0.1/24 dev eth2 label eth2:1",
    "ip link set eth0 up",
    "ip link set eth1 up",
    "ip link set eth2 up",
)
CHECK = """
import sys
from labctl.runner import failures, span_part
from labctl.runner.placement import Span
from labctl.runner.spec import from_dict

mine, *more = sys.argv[1:]
span = Span(hosts=("gpu1", "gpu2"), addresses=("10.1.1.1", mine), runs=("a", "b"), rank=1)
work = {"kind": "requests", "requests": [{"text": "x"}]}
asked = from_dict({"lab": "l", "mode": "server", "model": "m", "server": {}, "workload": work,
                   "engine": {"tensor_parallel_size": 2}})
try:
    span_part.check(asked, span, dict(one.split("=", 1) for one in more))
    print(span_part._network(mine))
except failures.SpanError as error:
    print(error)
"""


def said(address: str, *environment: str) -> str:
    """What a host with all these addresses says to a span that gives it this one."""
    script = "\n".join(("set -e", *ADDRESSES, 'exec "$@"'))
    command = ["unshare", "-rn", "sh", "-c", script, "sh", sys.executable, "-c", CHECK, address, *environment]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30, check=False)
    if "Operation not permitted" in done.stderr:
        pytest.skip("this machine lets nobody make a network of his own")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("address", "interface", "family"),
    [
        ("10.9.0.1", "eth0", "AF_INET"),
        ("10.9.0.2", "eth0", "AF_INET"),
        ("fd00::9", "eth0", "AF_INET6"),
        ("10.7.0.1", "eth2:1", "AF_INET"),
    ],
)
def test_every_address_has_its_interface(address: str, interface: str, family: str) -> None:
    wanted = {"VLLM_HOST_IP": address, "GLOO_SOCKET_IFNAME": interface, "TP_SOCKET_IFNAME": interface}
    assert said(address) == f"{wanted | {'NCCL_SOCKET_IFNAME': f'={interface}', 'NCCL_SOCKET_FAMILY': family}}\n"


@pytest.mark.parametrize("address", ["10.8.0.1", "fd00::8"])
def test_an_interface_that_is_public_first_is_refused(address: str) -> None:
    assert f"{address} is on the interface eth1 behind the public address 8.8.8.8" in said(address)


def test_an_address_of_nobody_is_refused() -> None:
    assert "gpu2 has no interface with the address 10.6.0.1" in said("10.6.0.1")


@pytest.mark.parametrize(
    "set_",
    ["VLLM_HOST_IP=8.8.8.8", "NCCL_SOCKET_IFNAME=eth1", "GLOO_SOCKET_IFNAME=eth1", "NCCL_SOCKET_FAMILY=AF_INET6"],
)
def test_no_lab_leads_it_elsewhere(set_: str) -> None:
    name, value = set_.split("=")
    assert f"{name} is {value!r} on gpu2" in said("10.9.0.1", set_)


def test_what_is_said_already_may_be_said() -> None:
    assert "eth0" in said("10.9.0.1", "NCCL_SOCKET_IFNAME=eth0", "VLLM_HOST_IP=10.9.0.1")
