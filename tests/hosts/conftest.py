"""Real sshd hosts in Docker, and laptops that reach them: everything heavy once a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.hosts import engine, image, light_lab
from tests.hosts.fleet import Fleet
from tests.hosts.laptop import laptop_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.hosts.laptop import Laptop
    from tests.hosts.machine import Machine
    from tests.hosts.network import Network


@pytest.fixture(scope="session")
def host_image(docker_engine: Any) -> str:
    try:
        return image.image(docker_engine)
    except engine.NoEngineError as error:
        pytest.skip(f"no test hosts: {error}")


@pytest.fixture(scope="session")
def fleet(docker_engine: Any, host_image: str) -> Fleet:
    return Fleet(docker_engine, host_image)


@pytest.fixture
def machine(fleet: Fleet) -> Iterator[Callable[..., Machine]]:
    """``machine("gpu1", user="lab", sudo="password", ...)``: a host of this test alone (see Variant)."""
    made: list[Machine] = []

    def make(name: str = "gpu1", **variant: Any) -> Machine:
        made.append(fleet.machine(name, **variant))
        return made[-1]

    yield make
    for one in made:
        one.remove()


@pytest.fixture(scope="module")
def lab_host(fleet: Fleet) -> Iterator[Callable[..., Machine]]:
    """``lab_host("frail")``: a host of this module, with a lab and the stand-in (see light_lab)."""
    made: list[Machine] = []

    def make(name: str) -> Machine:
        made.append(fleet.machine(name))
        light_lab.install(made[-1])
        return made[-1]

    yield make
    for one in made:
        one.remove()


@pytest.fixture(scope="module")
def inner_network(fleet: Fleet) -> Iterator[Network]:
    """A network behind a jump host."""
    made = fleet.inner_network()
    yield made
    made.remove()


@pytest.fixture(scope="session")
def gpu1(fleet: Fleet) -> Machine:
    """One host for every test that leaves it as it was: root, port 22, a lab with the stand-in."""
    made = fleet.machine("gpu1")
    light_lab.install(made)
    return made


@pytest.fixture
def laptop(tmp_path: Path, gpu1: Machine) -> Laptop:
    """A laptop that knows gpu1 and may enter it."""
    return laptop_of(tmp_path, gpu1)
