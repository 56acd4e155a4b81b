from __future__ import annotations

import time
from pathlib import Path

import pytest

from labctl import assets, inventory
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
    assert found["local"].vars["vllm_version"] == "0.32.0"
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


def test_nothing_lands_in_the_home_directory(source: Path) -> None:
    source.write_text("local ansible_connection=local\n", encoding="utf-8")
    inventory.hosts(source)
    assert not (source.parent / "home").exists()


def test_ansible_is_where_the_assets_say() -> None:
    assert (assets.folder("ansible") / "playbooks" / "provision.yml").is_file()
    with pytest.raises(FileNotFoundError, match="nonesuch"):
        assets.folder("nonesuch")
