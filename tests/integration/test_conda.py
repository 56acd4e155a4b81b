"""The specs of mode `conda` parse and solve with conda's own solver, over a channel of files; no conda runs here."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
import rattler
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from rattler.exceptions import SolverError

from labctl import assets, plan

if TYPE_CHECKING:
    from pathlib import Path

DEFAULTS = assets.folder("ansible") / "roles" / "python_env" / "defaults" / "main.yml"
VERSIONS = ("3.9.19", "3.10.14", "3.11.9", "3.12.7", "3.13.1", "3.14.0")


def specs(version: str) -> list[str]:
    """What the role asks conda for where the plan's Python is this one."""

    written = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))["python_env_conda_specs"]
    known = {"ansible_facts": {"labctl_plan": {"python": version}}}
    templar = Templar(loader=DataLoader(), variables=known)
    return [str(templar.template(trust_as_template(one))) for one in written]


def package(name: str, version: str, *depends: str) -> tuple[str, dict[str, Any]]:
    """A record of a channel's index (repodata.json): no file stands behind it, nothing is installed."""
    record = {"name": name, "version": version, "build": "0", "build_number": 0, "depends": list(depends)}
    return f"{name}-{version}-0.conda", {**record, "subdir": "linux-64", "sha256": "0" * 64, "size": 1}


@pytest.fixture
def channel(tmp_path: Path) -> rattler.Channel:
    found = dict([*(package("python", version, "tzdata") for version in VERSIONS), package("tzdata", "2026.1")])
    for subdir, records in (("linux-64", found), ("noarch", {})):
        (tmp_path / subdir).mkdir()
        index = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": records, "repodata_version": 1}
        (tmp_path / subdir / "repodata.json").write_text(json.dumps(index))
    return rattler.Channel(tmp_path.as_uri())


def solve(channel: rattler.Channel, wanted: list[str]) -> dict[str, str]:
    async def ask() -> Any:
        return await rattler.solve([channel], [*wanted], platforms=["linux-64", "noarch"])

    return {str(one.name.normalized): str(one.version) for one in asyncio.run(ask())}


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_specs_give_the_python_of_the_plan(channel: rattler.Channel, version: str) -> None:
    wanted = specs(version)
    assert [str(rattler.MatchSpec(one).name.normalized) for one in wanted] == ["python"]
    assert solve(channel, wanted)["python"].startswith(f"{version}.")


def test_a_python_that_the_channel_lacks_is_no_solution(channel: rattler.Channel) -> None:
    with pytest.raises(SolverError):
        solve(channel, specs("3.7"))


def test_the_tutorials_python_solves_and_is_refused_by_the_plan_with_the_reason(channel: rattler.Channel) -> None:
    assert solve(channel, ["python=3.10"])["python"] == "3.10.14"
    facts = {"system": "Linux", "arch": "x86_64", "libc": {"name": "glibc", "version": "2.36"}}
    with pytest.raises(plan.Impossible, match=r"conda create.*python=3\.10.*old"):
        plan.make(facts, {"python_env_mode": "conda", "vllm_python": "3.10"})
