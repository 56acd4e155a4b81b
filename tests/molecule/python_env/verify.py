"""An environment of its own, made by the pinned uv."""

from __future__ import annotations

from typing import Any


def test_the_environment_has_its_own_python(host: Any) -> None:
    said = host.check_output("/root/labctl/env/bin/python -I -c 'import sys; print(sys.prefix)'")
    assert said == "/root/labctl/env"


def test_uv_is_the_pinned_one(host: Any) -> None:
    from tests.molecule.scenario import ROOT

    pinned = (ROOT / "ansible" / "group_vars" / "all.yml").read_text().split('uv_version: "')[1].split('"')[0]
    assert (
        host.check_output("find /root/labctl -name uv -type f -perm -u+x -exec {} --version \\;").split()[1] == pinned
    )
