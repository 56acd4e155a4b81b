"""Grids, parameters and the labs' list by the labctl program itself, without a host."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from labctl import fleet, labs, studies, study_files
from labctl.commands.studying import Lead, PointBoard
from labctl.grids import Axis
from tests.integration.test_cli import labctl
from tests.unit.sealed_run import HERE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "inventory.ini").write_text(
        "local ansible_connection=local\n[two]\na ansible_host=a\nb ansible_host=b\n"
    )
    return tmp_path


def test_a_dry_run_prints_the_points_and_makes_nothing(here: Path) -> None:
    words = ("run", "offline", "--vary", "engine.max_num_seqs=16,many", "--vary", "seed=1,2", "--dry-run")
    said = labctl(*words, cwd=here).stdout
    assert "offline on local: 4 points" in said
    assert "max_num_seqs=16 seed=2" in said
    assert said.count("'many' is not a whole number or none.") == 2
    told = json.loads(labctl(*words, "--json", cwd=here).stdout)
    assert [bool(point["error"]) for point in told["points"]] == [False, False, True, True]
    spec = told["points"][1]["spec"]
    assert (spec["engine"], spec["seed"], spec["vllm"]) == ({"max_num_seqs": 16}, 2, "0.32.0")
    assert not {"runs", "studies"} & {path.name for path in here.iterdir()}


def test_a_grid_over_hosts_is_a_study_each(here: Path) -> None:
    done = labctl("run", "vary-dtype", "--host", "two", "--dry-run", "--json", cwd=here)
    assert [(one["host"], len(one["points"])) for one in json.loads(done.stdout)] == [("a", 3), ("b", 3)]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run", "offline", "--vary", "engine.max_num_seq=1,2"), 2, "nearest: max_num_seqs"),
        (("run", "offline", "--vary", "max_num_seqs=1,2"), 2, "did you mean engine.max_num_seqs?"),
        (("run", "offline", "--vary", "seed=1,2", "--detach"), 2, "--detach cannot be"),
        (("run", "vary-dtype", "--engine", "dtype=auto"), 2, "engine.dtype is varied"),
        (("run", "vary-swap-space"), 2, "needs vLLM below 0.18.0, and this is 0.32.0: swap_space was removed"),
        (("run", "offline", "--vary", "seed=1,2"), 6, "labctl provision local"),
        (("run", "offline", "--batch-sizes", "1"), 2, "--batch-sizes is for labs of kind batches"),
        (("run", "bench-serve", "--server", "x", "--model", "m", "--dry-run"), 2, "x is measured as it runs"),
        (("run", "bench-serve", "--vary", "sampling.max_tokens=1,2"), 2, "sampling argument max_tokens"),
        (("run", "offline", "--vary", "sampling.temperature=0,0.0"), 2, "one and the same run"),
        (("study",), 9, "there is no study yet"),
        (("study", "--retry"), 2, "--retry goes with --resume"),
        (("study", "nothing", "--resume"), 9, "there is no study nothing"),
        (("params",), 6, "labctl provision local"),
        (("params", "--lang", "fr"), 2, "--lang"),
        (("params", "--engine", "max_modle_len=3"), 2, "max_model_len"),
    ],
)
def test_what_cannot_be(words: tuple[str, ...], code: int, said: str, here: Path) -> None:
    done = labctl(*words, cwd=here)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_study_that_could_not_begin_can_be_gone_on_with(here: Path) -> None:
    """The host was not provisioned: its points wait."""
    labctl("run", "offline", "--vary", "seed=1,2", cwd=here)
    [row] = json.loads(labctl("studies", "--json", cwd=here).stdout)
    assert (row["points"], row["left"], row["ok"], row["failed"]) == (2, 2, 0, 0)
    done = labctl("study", row["study"], cwd=here)
    assert f"labctl study {row['study']} --resume" in done.stderr
    assert done.returncode == 0


def test_ready_studies_are_listed_apart(here: Path) -> None:
    single, _, ready = labctl("labs", cwd=here).stdout.partition("\n\n")
    assert "offline-7b" in single
    assert "vary-" not in single
    assert ready.startswith("ready studies, a run for each value")
    assert "vary-tensor-parallel-size    2 GPUs " in ready
    rows = {row["lab"]: row for row in json.loads(labctl("labs", "--json", cwd=here).stdout)}
    assert rows["vary-dtype"]["varies"] == {"engine.dtype": ["float32", "bfloat16", "float16"]}
    assert rows["offline"]["varies"] == {}


def test_one_who_comes_late_does_not_run_what_another_has_done(here: Path) -> None:
    """Read before the other labctl's points were through, led after it let go: no host is asked."""
    (here / "runs").mkdir()
    made = studies.plan(labs.read("offline"), "local", "0.32.0", [Axis("seed", (1, 2))], over={}, env={})
    study_files.create(here / "runs", made)
    other = study_files.load(here / "runs", made.study)
    for point in other.points:
        point.run, point.status = "r", "ok"
    study_files.save(here / "runs", other)
    Lead(here / "runs", PointBoard([HERE]), patience=0).study(made, HERE, fleet.Leave())
    assert made == other
