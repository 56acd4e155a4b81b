from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labctl import ansible_inventory, assets, inventory
from labctl.errors import HostUnknownError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LABCTL_INVENTORY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "inventory.ini"


def test_the_inventory_of_the_checkout(tmp_path: Path) -> None:
    copy = tmp_path / "inventory.ini"
    copy.write_text((ROOT / "inventory.ini").read_text(encoding="utf-8"), encoding="utf-8")
    host = inventory.hosts(copy)["local"]
    assert (host.connection, host.lab_dir) == ("local", str(tmp_path / ".labctl" / "local"))


def test_the_command_that_makes_an_inventory_makes_a_good_one(source: Path) -> None:
    made = inventory.MAKE_ONE.split("'")[1]
    source.write_text(made + "\n", encoding="utf-8")
    assert inventory.resolve("local", source).connection == "local"


def test_the_pins_are_there_and_a_host_wins_over_them(source: Path) -> None:
    source.write_text(
        "[labs]\nlocal ansible_connection=local\n"
        "[gpus]\ngpu1 ansible_host=203.0.113.7 ansible_port=2222 ansible_user=me vllm_version=0.33.0\n"
        "[gpus:vars]\nlab_dir=/data/lab\n",
        encoding="utf-8",
    )
    (source.parent / "host_vars").mkdir()
    (source.parent / "host_vars" / "local.yml").write_text('vllm_python: "3.12"\n', encoding="utf-8")
    found = inventory.hosts(source)
    assert set(found) == {"local", "gpu1"}
    assert found["local"].vars["vllm_version"] == "auto"
    assert found["local"].vars["vllm_python"] == "3.12"
    gpu = found["gpu1"]
    assert (gpu.address, gpu.port, gpu.user, gpu.lab_dir) == ("203.0.113.7", 2222, "me", "/data/lab")
    assert gpu.vars["vllm_version"] == "0.33.0"


def test_a_second_look_asks_nobody(source: Path) -> None:
    source.write_text("local ansible_connection=local\n", encoding="utf-8")
    inventory.hosts(source)
    started = time.monotonic()
    inventory.hosts(source)
    assert time.monotonic() - started < 0.1


def test_a_line_that_is_no_inventory_is_named(source: Path) -> None:
    source.write_text("[labs]\nlocal ansible_connection\n", encoding="utf-8")
    with pytest.raises(
        HostUnknownError, match=r"inventory\.ini cannot be read: .*Expected key=value.*ansible_connection"
    ):
        inventory.hosts(source)


SEVERAL = """
local ansible_connection=local
[labs]
gpu3
gpu1
gpu2
[zoo]
zed
[empty]
[both:children]
labs
zoo
[nobody:children]
empty
"""


@pytest.fixture
def several(source: Path) -> Path:
    source.write_text(SEVERAL, encoding="utf-8")
    return source


@pytest.mark.parametrize(
    "pattern",
    ["gpu1,gpu2", "gpu2,gpu1", "labs", "all", "gpu*", "labs:!gpu2", "~g.u[12]", "labs[0:1]", "both:&labs", "!gpu1"],
)
def test_a_pattern_takes_what_ansible_takes(several: Path, pattern: str) -> None:
    program = str(Path(sys.executable).with_name("ansible"))
    command = [program, "all", *ansible_inventory.sources(several), "--list-hosts", f"--limit={pattern}"]
    variables = ansible_inventory.environment(several)
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    expected = [line.strip() for line in done.stdout.splitlines()[1:]]
    assert expected
    assert [host.name for host in inventory.select(pattern, several)] == expected


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("gpu1,gpu9", r"no host or group fits 'gpu9' \(in 'gpu1,gpu9'\)"),
        ("labs:!gpu9", "no host or group fits 'gpu9'"),
        ("zz*", r"no host or group fits 'zz\*'; it has the hosts local, gpu3, gpu1, gpu2, zed and the groups"),
        ("labs[7]", "No hosts matched the subscripted pattern"),
        ("gpu1:&zoo", "no host fits 'gpu1:&zoo'"),
        ("~(", "Invalid host list pattern"),
        ("--list", "no host or group fits '--list'"),
        ("gpu1,localhost", "no host or group fits 'localhost'"),
        ("labs,empty", "the group 'empty' is empty"),
        ("nobody", "the group 'nobody' is empty"),
        ("@/nonexistent", "Unable to find limit file"),
    ],
)
def test_no_host_is_left_out_silently(several: Path, pattern: str, message: str) -> None:
    with pytest.raises(HostUnknownError, match=message):
        inventory.select(pattern, several)


def test_a_pattern_seen_before_starts_no_process(several: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = inventory.select("labs:!gpu2", several)
    monkeypatch.setattr(subprocess, "run", None)
    assert inventory.select("labs:!gpu2", several) == first


def test_several_labctls_at_once_leave_a_whole_file(several: Path) -> None:
    patterns = [f"gpu[{number}]*" for number in (1, 2, 3)] * 3
    with ThreadPoolExecutor(9) as pool:
        found = list(pool.map(lambda pattern: inventory.select(pattern, several)[0].name, patterns))
    assert found == ["gpu1", "gpu2", "gpu3"] * 3
    (kept,) = (path for path in (several.parent / ".labctl" / "cache").iterdir() if path.is_file())
    assert set(json.loads(kept.read_text(encoding="utf-8"))) == {"key", "answer", "patterns"}


def test_nothing_lands_in_the_home_directory(source: Path) -> None:
    source.write_text("local ansible_connection=local\n", encoding="utf-8")
    inventory.hosts(source)
    assert not (source.parent / "home").exists()


def test_ansible_is_where_the_assets_say() -> None:
    assert (assets.folder("ansible") / "playbooks" / "provision.yml").is_file()
    with pytest.raises(FileNotFoundError, match="nonesuch"):
        assets.folder("nonesuch")
