"""The studies that come with labctl: one for each of the tutorial's parameters, on every vLLM with a table."""

from __future__ import annotations

import json

import pytest

from labctl import argtables, grids, labs, needs, studies
from labctl.errors import UsageError
from labctl.grids import Axis
from labctl.report import rerun
from labctl.runner.parameter_rows import PARAMETERS, REMOVED_IN
from labctl.runner.workloads import Prompts

READY = [name for name in labs.bundled() if "vary" in labs.read(name)]


def test_each_parameter_has_one() -> None:
    varied = {axis.key.removeprefix("engine."): name for name in READY for axis in grids.axes(labs.read(name), ())}
    assert varied == {one.name: f"vary-{one.flag.removeprefix('--')}" for one in PARAMETERS}
    assert len(PARAMETERS) == 11


@pytest.mark.parametrize("version", argtables.versions())
@pytest.mark.parametrize("name", READY)
def test_every_point_builds_on_every_version_or_says_why_not(name: str, version: str) -> None:
    lab = labs.read(name)
    try:
        needs.of_version(lab, version)
    except UsageError as error:
        assert "removed in 0.18.0" in str(error)  # noqa: PT017 - most of these raise nothing
        return
    study = studies.plan(lab, "gpu1", version, grids.axes(lab, ()), over={}, env={})
    assert {point.status for point in study.points} == {"waiting"}
    assert len(study.points) >= 2
    specs = [study.spec(point, version) for point in study.points]
    assert len({spec.sha256() for spec in specs}) == len(specs), "the points differ"


@pytest.mark.parametrize("version", argtables.versions())
def test_what_is_said_to_be_gone_is_in_no_table_and_the_others_are_in_all(version: str) -> None:
    table = argtables.load(version)
    assert [one.name for one in PARAMETERS if one.name not in table.engine] == list(REMOVED_IN)


def test_only_what_needs_gpus_is_kept_from_a_cpu() -> None:
    kept = []
    for name in READY:
        try:
            needs.of_host(labs.read(name), "here", "cpu", 0)
        except UsageError as error:
            kept.append((name, str(error)))
    assert [name for name, _ in kept] == ["vary-pipeline-parallel-size", "vary-tensor-parallel-size"]
    assert all("needs 2 GPUs" in said for _, said in kept)


def test_a_plan_keeps_what_its_points_are_built_from() -> None:
    lab = labs.read("vary-dtype")
    over = {"engine": ["enforce_eager=true"], "model": "/a/folder", "seed": None}
    study = studies.plan(lab, "gpu1", "0.32.0", grids.axes(lab, ()), over=over, env={"HF_HUB_OFFLINE": "1"})
    assert study.vary == [["engine.dtype", ["float32", "bfloat16", "float16"]]]
    assert [point.values for point in study.points] == [{"engine.dtype": one} for one in study.vary[0][1]]
    again = json.loads(json.dumps(study.asked))
    spec = study.spec(study.points[2], "0.32.0")
    study.asked = again
    assert study.spec(study.points[2], "0.32.0") == spec
    assert spec.engine == {"dtype": "float16", "enforce_eager": True}
    assert (spec.model, spec.env) == ("/a/folder", {"HF_HUB_OFFLINE": "1"})


def test_points_that_no_table_takes_are_refused_and_the_others_wait() -> None:
    lab = labs.read("offline")
    varied = [Axis("engine.max_num_seqs", (4, "many")), Axis("sampling.max_tokens", (8, -1))]
    study = studies.plan(lab, "gpu1", "0.32.0", varied, over={}, env={})
    assert [point.status for point in study.points] == ["waiting", "refused", "refused", "refused"]
    assert study.points[1].error == "sampling argument max_tokens must be at least 1, not -1"
    assert study.count("refused", "failed") == 3


@pytest.mark.parametrize(
    ("axis", "over", "said"),
    [
        (Axis("engine.max_num_seq", (1, 2)), {}, "no point of that grid can be run: .*nearest: max_num_seqs"),
        (Axis("engine.dtype", ("auto", "half")), {"engine": ["dtype=auto"]}, "^engine.dtype is varied"),
    ],
)
def test_a_grid_that_cannot_be(axis: Axis, over: dict[str, list[str]], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        studies.plan(labs.read("offline"), "gpu1", "0.32.0", [axis], over=over, env={})


def test_a_point_is_run_again_by_its_own_spec() -> None:
    """The lab's name alone would run the whole grid."""
    lab = labs.read("vary-enable-prefix-caching")
    study = studies.plan(lab, "gpu1", "0.32.0", grids.axes(lab, ()), over={}, env={})
    spec = study.spec(study.points[0], "0.32.0")
    assert rerun.again(spec, "gpu1", "r1") == ["labctl run runs/r1/spec.json", "--host gpu1"]


def test_prompts_that_begin_alike() -> None:
    work = labs.build(labs.read("vary-enable-prefix-caching"), vllm="0.32.0", env={}).workload
    assert isinstance(work, Prompts)
    texts = work.texts()
    assert len(set(texts)) == len(texts) == 8
    assert all(text.startswith(work.prefix * 16) for text in texts)
    assert Prompts(prompts=("a",)).texts() == ["a"]
