from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labctl import lock_trim, locks, plan
from labctl.argtables.wheels import Wheel
from labctl.errors import UsageError

LOCKS = Path(__file__).parents[2] / "ansible" / "locks"
TEXT = """\
# a comment
PyYAML==6.0.3 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
nvidia-cublas==13.1 ; sys_platform == 'linux' \\
    --hash=sha256:cc
nvidia-ml-py==13.6 --hash=sha256:dd
setuptools==80.1 ; python_full_version >= '3.12' \\
    --hash=sha256:ee
setuptools==84.2 ; python_full_version < '3.12' \\
    --hash=sha256:ff
torch==2.11.0 \\
    --hash=sha256:11
torchvision==0.26.0 \\
    --hash=sha256:22
"""


def planned(**change: Any) -> dict[str, Any]:
    return {"mode": "uv", "python": "3.12", "existing": None, "without": {}, **change}


def existing(**packages: str) -> dict[str, Any]:
    return planned(mode="existing", existing={"packages": packages})


def names(text: str) -> list[str]:
    return [f"{entry.name}=={entry.version}" for entry in locks.parse(text)]


def test_an_entry_is_read_whole() -> None:
    first, second, *_ = locks.parse(TEXT)
    assert first == locks.Entry("pyyaml", "6.0.3", "", ("sha256:aa", "sha256:bb"))
    assert second.marker == 'sys_platform == "linux"'


def test_one_python_gets_its_own_entries_without_markers() -> None:
    got = locks.filtered(TEXT, planned())
    assert "setuptools==80.1" in names(got)
    assert "setuptools==84.2" not in names(got)
    assert ";" not in got
    assert names(locks.filtered(TEXT, planned(python="3.11")))[3] == "setuptools==84.2"


def test_pytorch_is_never_taken_for_a_local_build_of_it() -> None:
    assert "torch===2.11.0 \\\n" in locks.filtered(TEXT, planned())
    local = "torch==2.13.0+cpu --hash=sha256:11\n"
    assert locks.filtered(local, planned()).startswith("torch==2.13.0+cpu ")


def test_an_existing_pytorch_keeps_its_family_and_what_is_the_same() -> None:
    kept, out = locks.chosen(
        locks.parse(TEXT), existing(torch="2.11.0+cu130", torchvision="0.26.0+cu130", pyyaml="6.0.3")
    )
    assert [entry.name for entry in kept] == ["nvidia-ml-py", "setuptools"]
    assert set(out) == {"pyyaml", "nvidia-cublas", "torch", "torchvision"}
    kept, _ = locks.chosen(locks.parse(TEXT), existing(torch="2.11.0+cu130", pyyaml="6.0.2"))
    assert [entry.name for entry in kept] == ["pyyaml", "nvidia-ml-py", "setuptools", "torchvision"]


def test_what_was_named_is_left_out_with_its_reason() -> None:
    _, out = locks.chosen(locks.parse(TEXT), planned(without={"pyyaml": "named by vllm_without"}))
    assert out == {"pyyaml": "named by vllm_without"}


@pytest.mark.parametrize(
    "text", ["torch>=2\n", "torch==2.11.0\n", "torch==2,==3 --hash=sha256:1\n", "-e .\n", "a==1.*"]
)
def test_a_line_that_pins_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        locks.parse(text)


@pytest.mark.parametrize("lock", sorted(LOCKS.glob("vllm-*.txt")), ids=lambda path: path.stem)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_each_python_gets_every_package_once(lock: Path, python: str) -> None:
    text = lock.read_text(encoding="utf-8")
    entries = locks.parse(text)
    got = names(locks.filtered(text, planned(python=python)))
    found = [name.partition("=")[0] for name in got]
    assert len(found) == len(set(found))
    assert {entry.name for entry in entries if not entry.marker} <= set(found)
    assert "://" not in text


def test_the_h100s_pytorch_stays_and_what_vllm_adds_comes() -> None:
    facts = json.loads((LOCKS.parents[1] / "tests/data/probe-h100/facts.json").read_text(encoding="utf-8"))
    made = plan.make(facts, {"vllm_without": ["tilelang"]})
    kept, out = locks.chosen(locks.parse((LOCKS / made["lock"]).read_text(encoding="utf-8")), made)
    mine = {entry.name: entry.version for entry in kept}
    there = made["existing"]["packages"]
    assert {"torch", "torchvision", "torchaudio", "triton", "nvidia-cublas", "transformers", "tilelang"} <= set(out)
    assert mine["vllm"] == "0.25.1"
    assert {"nvidia-ml-py", "openai", "flashinfer-python"} <= set(mine)
    assert out["psutil"] == "the same version is there"
    assert not [name for name, version in mine.items() if there.get(name) == version]


@pytest.mark.parametrize("lock", sorted(LOCKS.glob("vllm-*-cuda.txt")), ids=lambda path: path.stem)
def test_a_cuda_lock_is_small(lock: Path) -> None:
    assert lock.stat().st_size < 60_000


def wheel(tags: str, number: int) -> Wheel:
    return Wheel(f"demo-1.0{tags}", "", str(number))


def test_a_lock_keeps_the_hashes_of_what_linux_takes() -> None:
    files = [
        wheel("-cp312-cp312-manylinux_2_31_x86_64.whl", 1),
        wheel("-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", 2),
        wheel("-cp311-cp311-musllinux_1_2_x86_64.whl", 3),
        wheel("-cp312-cp312-macosx_11_0_arm64.whl", 4),
        wheel(".tar.gz", 5),
        wheel("-cp38-abi3-manylinux_2_31_x86_64.whl", 6),
        wheel("-py3-none-any.whl", 7),
    ]
    known = {python: lock_trim.tags(python) for python in lock_trim.PYTHONS}
    marker = "python_full_version < '3.13' and platform_machine == 'x86_64' and sys_platform == 'linux'"
    entry = locks.Entry("demo", "1.0", marker, tuple(f"sha256:{number}" for number in range(1, 7)))
    got = lock_trim.trim(entry, files, known)
    assert got.entry.hashes == ("sha256:1", "sha256:2", "sha256:6")
    assert got.entry.marker == "python_full_version < '3.13'"
    assert got.glibc == {"3.11": 31, "3.12": 17, "3.13": 31, "3.14": 31}
    assert list(lock_trim.summary([got]))[:2] == ["Python 3.11: glibc 2.31 (demo)", "Python 3.12: glibc 2.17 (demo)"]


def test_a_source_archive_stays_where_there_is_nothing_else() -> None:
    entry = locks.Entry("demo", "1.0", "", ("sha256:5", "sha256:4"))
    files = [wheel(".tar.gz", 5), wheel("-cp312-cp312-win_amd64.whl", 4)]
    got = lock_trim.trim(entry, files, {"3.12": lock_trim.tags("3.12")})
    assert (got.entry.hashes, got.source) == (("sha256:5",), True)
    assert lock_trim.trim(entry, [], {}).entry.hashes == entry.hashes
