"""Which wheels another machine's Python takes."""

from __future__ import annotations

import pytest

from labctl.bundle.wheels import Target, fits, glibc, missing
from labctl.locks import Entry

JAMMY = Target("3.12", "x86_64", "2.35")
TORCH = Entry("torch", "2.13.0+cpu", "", ("sha256:" + "a" * 64,))


def test_every_manylinux_up_to_the_hosts_glibc_is_named() -> None:
    platforms = JAMMY.platforms()
    assert platforms[0] == "manylinux_2_35_x86_64"
    assert platforms[-1] == "linux_x86_64"
    assert {"manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"} < set(platforms)
    assert "manylinux_2_36_x86_64" not in platforms
    assert platforms.index("manylinux_2_17_x86_64") + 1 == platforms.index("manylinux2014_x86_64")
    assert len(platforms) == 31 + 3 + 1


@pytest.mark.parametrize(
    ("wheel", "taken"),
    [
        ("torch-2.13.0+cpu-cp312-cp312-manylinux_2_28_x86_64.whl", True),
        ("torch-2.13.0+cpu-cp312-cp312-linux_x86_64.whl", True),
        ("torch-2.13.0+cpu-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("torch-2.13.0+cpu-py3-none-any.whl", True),
        ("torch-2.13.0+cpu-py3-none-manylinux_2_35_x86_64.whl", True),
        ("torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl", False),
        ("torch-2.13.0+cpu-cp313-abi3-manylinux_2_28_x86_64.whl", False),
        ("torch-2.13.0+cpu-cp312-cp312-manylinux_2_36_x86_64.whl", False),
        ("torch-2.13.0+cpu-cp312-cp312-manylinux_2_28_aarch64.whl", False),
        ("torch-2.13.0+cpu-cp312-cp312-musllinux_1_2_x86_64.whl", False),
        ("torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl", False),
        ("torchvision-2.13.0+cpu-py3-none-any.whl", False),
        ("torch-2.13.0+cpu.tar.gz", False),
        ("controller--torch", False),
    ],
)
def test_a_wheel_fits_by_its_name(wheel: str, *, taken: bool) -> None:
    assert fits(wheel, TORCH, JAMMY.tags()) is taken


def test_what_is_here_is_known_by_name_and_checksum() -> None:
    idna = Entry("idna", "3.10", "", ("sha256:" + "b" * 64, "sha256:" + "c" * 64))
    here = {
        "wheels/idna-3.10-py3-none-any.whl": "c" * 64,
        "wheels/torch-2.13.0+cpu-cp312-cp312-manylinux_2_28_x86_64.whl": "d" * 64,
    }
    lacking, there = missing([TORCH, idna], JAMMY, list(here), lambda name, digests: here[name] in digests)
    assert lacking == [TORCH]  # another file under the right name
    assert there == ["wheels/idna-3.10-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("told", "taken"),
    [("2.36", "2.36"), ("2.36.9000", "2.36"), ("2.300000", "2.28"), ("2.x", "2.28"), (None, "2.28"), (3, "2.28")],
)
def test_a_wild_glibc_is_not_taken(told: object, taken: str) -> None:
    assert glibc(told) == taken
