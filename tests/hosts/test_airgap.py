"""Hosts without a network, systemd, Docker, sudo or root: a bundle is all they get, and vLLM generates there.

By SSH from a laptop that has a network; and with nobody at the line: labctl itself is carried over by hand, and what
it recorded is carried back.
"""

from __future__ import annotations

import json
import re
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.hosts.laptop import laptop_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.hosts.fleet import Fleet
    from tests.hosts.laptop import Laptop
    from tests.hosts.machine import Machine
    from tests.hosts.network import Network

MB = 1000**2


def island(fleet: Fleet, network: Network, name: str) -> Machine:
    """Nothing but a user, a Python and what vLLM's CPU build cannot do without."""
    return fleet.machine(name, user="lab", sudo="gone", networks=[network])


@pytest.fixture(scope="module")
def near(fleet: Fleet, inner_network: Network) -> Iterator[Machine]:
    """Reached by SSH from the Docker host; reaches nothing itself."""
    made = island(fleet, inner_network, "island")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def far(fleet: Fleet, inner_network: Network) -> Iterator[Machine]:
    """As that one, and no laptop ever speaks to it."""
    made = island(fleet, inner_network, "atoll")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, near: Machine) -> Laptop:
    """The laptop that has a network."""
    return laptop_of(tmp_path_factory.mktemp("home"), near, "island")


@pytest.fixture(scope="module")
def bundle(home: Laptop) -> Path:
    words = ("--with-controller", "--part-size", "45MB", "--output", "bundle")
    said = home("bundle", "--for", "island", *words, timeout=900)
    assert "sh bundle/install-controller.sh" in said
    return home.folder / "bundle"


def test_the_host_is_an_island(home: Laptop) -> None:
    told = json.loads(home("doctor", "--host", "island", "--json", code=1, stderr=False))
    facts = told["facts"]
    assert facts["network"]["index"]["answers"] is False
    assert (facts["systemd"], facts["docker"]["program"], facts["user"]["sudo"]) == (False, None, "none")
    assert facts["user"]["uid"] != 0


def test_no_part_is_larger_than_asked(bundle: Path) -> None:
    sizes = [sum(path.stat().st_size for path in part.iterdir()) for part in bundle.glob("part-*")]
    assert max(sizes) <= 45 * MB
    assert sum(sizes) > 500 * MB


def test_a_part_that_was_altered_here_is_not_sent(home: Laptop, bundle: Path) -> None:
    part = next(bundle.glob("part-*/torch-*.whl.002"))
    kept = part.read_bytes()
    part.write_bytes(b"#" + kept[1:])
    try:
        said = home("provision", "island", "--bundle", "bundle", code=8)
    finally:
        part.write_bytes(kept)
    assert f"{part.relative_to(bundle)} is missing or was altered" in said


def test_a_bundle_for_another_python_is_refused(home: Laptop, bundle: Path, near: Machine) -> None:
    told = json.loads((bundle / "bundle.json").read_text())
    told["for"]["python"] = "3.12"
    place = f"{near.home}/other"
    near.write(f"{place}/bundle.json", json.dumps(told).encode(), owner="lab")
    said = home("provision", "island", "-e", f"lab_bundle={place}", code=7)
    assert "This bundle is for Python 3.12, this host's environment is on 3.11" in said


def test_it_is_provisioned_from_the_bundle_and_generates(home: Laptop, bundle: Path, near: Machine) -> None:
    home("provision", "island", "--bundle", str(bundle), timeout=900)
    home("run", "offline", "--host", "island", timeout=600)
    record = home.record()
    assert record["status"] == "ok"
    assert record["metrics"]["throughput"]["value"] > 0
    again = home("provision", "island", "--bundle", str(bundle), timeout=300)
    assert re.search(r"island: \d+ tasks ok, 0 changed", again)
    # What only labctl itself needs stayed here.
    assert near.shell(f"ls {near.lab_dir}/bundle | grep -c install-controller", check=False).startswith("0")


def test_what_was_altered_there_is_sent_again(home: Laptop, bundle: Path, near: Machine) -> None:
    torch = near.shell(f"ls {near.lab_dir}/bundle/part-*/torch-*.whl.002").strip()
    digest = near.shell(f"sha256sum < {torch}")
    near.shell(f"printf x | dd of={torch} conv=notrunc status=none")
    checked = near.shell(
        f"python3 {near.lab_dir}/bundle/check_bundle.py {near.lab_dir}/bundle", user="lab", check=False
    )
    assert f"{'/'.join(torch.split('/')[-2:])} was altered" in checked
    home("provision", "island", "--bundle", str(bundle), timeout=300)
    assert near.shell(f"sha256sum < {torch}") == digest


@pytest.mark.slow
def test_the_whole_line_runs_on_the_far_side(home: Laptop, bundle: Path, far: Machine, tmp_path: Path) -> None:
    packed = tmp_path / "carried.tar"
    with tarfile.open(packed, "w") as archive:
        archive.add(bundle, "bundle")
    with packed.open("rb") as stream:
        assert far.container.put_archive(far.home, stream)
    far.shell(f"chown -R lab: {far.home}/bundle")
    packed.unlink()

    def there(command: str) -> str:
        return far.shell(f"cd {far.home} && {command}", user="lab")

    said = there("sh bundle/install-controller.sh")
    assert "labctl provision local --bundle" in said
    active = ". labctl-env/bin/activate && "
    there(f"{active}labctl provision local --bundle bundle")
    there(f"{active}labctl run offline")
    # Once more changes nothing, and keeps what is installed.
    assert "nothing to do" in there("sh bundle/install-controller.sh")
    assert re.search(r"local: \d+ tasks ok, 0 changed", there(f"{active}labctl provision local --bundle bundle"))
    there("tar -czf runs.tar.gz runs")
    (home.folder / "runs.tar.gz").write_bytes(far.read(f"{far.home}/runs.tar.gz"))
    told = json.loads(home("import", "runs.tar.gz", "--json", stderr=False))
    assert [(row["came"], row["sealed"], row["note"]) for row in told] == [("taken", True, "")]
    run = home.runs_dir / told[0]["run"]
    assert home.record(run)["status"] == "ok"
    assert (run / "report" / "report.html").is_file()
    assert "0 problems" in home("verify", told[0]["run"])
    assert "already here" in home("import", "runs.tar.gz")
