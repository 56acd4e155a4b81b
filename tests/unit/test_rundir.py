from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labctl.runner import rundir

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for name, text in {
        "spec.json": "{}",
        "logs/engine.log": "line\n",
        "local/origin.json": "{}",
        "report/report.html": "<p>",
        ".reserve": "room",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_the_seal_covers_what_the_host_made_and_nothing_else(run_dir: Path) -> None:
    (run_dir / "link").symlink_to("/etc/passwd")
    rundir.seal(run_dir)
    sums = rundir.manifest((run_dir / rundir.SUMS).read_text())
    assert list(sums) == ["logs/engine.log", "spec.json"]
    assert sums["spec.json"] == rundir.sha256(run_dir / "spec.json")


def test_artifacts_name_kind_and_size(run_dir: Path) -> None:
    rows = {row["path"]: row for row in rundir.artifacts(run_dir)}
    assert rows["logs/engine.log"]["kind"] == "log"
    assert rows["spec.json"]["kind"] == "spec"
    assert rows["spec.json"]["size"] == 2


DIGEST = "a" * 64


@pytest.mark.parametrize(
    "line",
    [
        f"{DIGEST}  ../spec.json",
        f"{DIGEST}  /etc/passwd",
        f"{DIGEST}  logs/../../x",
        f"{DIGEST}  local/origin.json",
        f"{DIGEST}  a\\b",
        f"{DIGEST}  a\x1b[2J",
        f"{DIGEST} spec.json",
        "abc  spec.json",
        f"{DIGEST}  x\n{DIGEST}  x",
    ],
)
def test_a_manifest_that_is_not_plain_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="SHA256SUMS line"):
        rundir.manifest(line + "\n")
