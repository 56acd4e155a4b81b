"""Debian's real Docker, which runs a container here; NVIDIA's toolkit is a package without content."""

from __future__ import annotations

import json
from typing import Any

# A root file system of one program, libraries and all, from what the host itself has.
IMAGE = """
set -eu
root=$(mktemp -d)
mkdir -p $root/bin
for one in /bin/cat $(ldd /bin/cat | grep -o '/[^ ]*'); do install -D "$one" "$root$one"; done
tar -C $root -c . | docker import - labctl-test:cat > /dev/null
rm -r $root
"""


def test_a_container_runs(host: Any) -> None:
    assert host.service("docker").is_running
    assert host.service("docker").is_enabled
    host.check_output(IMAGE)
    said = host.check_output("echo from inside | docker run --rm -i --network none labctl-test:cat /bin/cat")
    assert said == "from inside"


def test_the_settings_are_merged(host: Any) -> None:
    found = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert found["log-level"] == "warn", "what was there before stays"
    assert found["registry-mirrors"] == ["https://mirror.invalid"]
    assert found["data-root"] == "/var/lib/docker/large"
    assert "nvidia" in found["runtimes"]
    told = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert told["DockerRootDir"] == "/var/lib/docker/large"
    assert told["RegistryConfig"]["Mirrors"] == ["https://mirror.invalid/"]
    assert "nvidia" in told["Runtimes"]


def test_the_toolkit_was_asked_once(host: Any) -> None:
    words = host.file("/var/log/nvidia-ctk").content_string.splitlines()
    assert words == ["runtime configure --runtime=docker", "cdi generate --output=/etc/cdi/nvidia.yaml"]
    assert "580.95.05" in host.file("/etc/cdi/nvidia.yaml").content_string


def test_the_user_is_in_the_group(host: Any) -> None:
    assert "docker" in host.user("lab").groups


def test_the_ledger_names_what_was_put_there(host: Any) -> None:
    lines = host.file("/root/labctl/placed/container_runtime.txt").content_string.splitlines()
    assert {"package docker.io", "package nvidia-container-toolkit", "group lab docker"} <= set(lines)
    assert "file /etc/docker/daemon.json" not in lines, "it was there before"
    assert len(lines) == len(set(lines))
