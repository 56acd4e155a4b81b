from __future__ import annotations

import json
from typing import Any

import pytest

from labctl import grids
from labctl.errors import UsageError
from labctl.grids import Axis

LAB = {"lab": "mine", "vary": {"engine": {"max_num_seqs": [1, 4]}, "seed": [0, 1]}}


def test_a_grid_is_every_combination() -> None:
    varied = grids.axes({"lab": "offline"}, ["engine.max-num-seqs=16,64,256", "sampling.max_tokens=32,64"])
    assert varied == [Axis("engine.max_num_seqs", (16, 64, 256)), Axis("sampling.max_tokens", (32, 64))]
    found = grids.points(varied)
    assert len(found) == 6
    assert found[:2] == [
        {"engine.max_num_seqs": 16, "sampling.max_tokens": 32},
        {"engine.max_num_seqs": 16, "sampling.max_tokens": 64},
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("engine.dtype=auto, bfloat16", ("auto", "bfloat16")),
        ("engine.enforce_eager=true,false", (True, False)),
        ("engine.max_model_len=none,512", ("none", 512)),
        ("engine.gpu_memory_utilization=0.5,0.90", (0.5, "0.90")),
        ("engine.x=NaN,1e400,1e3", ("NaN", "1e400", "1e3")),
        ('engine.compilation_config={"mode":0},{"mode":3}', ({"mode": 0}, {"mode": 3})),
        ('workload.prompts=["a, b"],["c"]', (["a, b"], ["c"])),
        ('model="a,b"', ("a,b",)),
        ("model=m/x,/folder", ("m/x", "/folder")),
        ("engine.override={broken", ("{broken",)),
    ],
)
def test_values_of_an_option(text: str, values: tuple[Any, ...]) -> None:
    [axis] = grids.axes({"lab": "offline"}, [text])
    found = axis.values
    if text.startswith("engine.compilation_config"):
        found = tuple(json.loads(value) if isinstance(value, str) else value for value in found)
    assert found == values
    assert [type(one) for one in found] == [type(one) for one in values]


def test_an_option_takes_the_place_of_the_labs() -> None:
    assert grids.axes(LAB, []) == [Axis("engine.max_num_seqs", (1, 4)), Axis("seed", (0, 1))]
    varied = grids.axes(LAB, ["seed=7", "model=a,b"])
    assert varied == [Axis("engine.max_num_seqs", (1, 4)), Axis("seed", (7,)), Axis("model", ("a", "b"))]
    assert grids.axes({"lab": "offline"}, []) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engine.max_num_seqs", "takes KEY=VALUE,VALUE"),
        ("max_num_seqs=1,2", "did you mean engine.max_num_seqs?"),
        ("server.port=1,2", "cannot be varied"),
        ("engine.=1", "cannot be varied"),
        ("=1", "nothing cannot be varied"),
        ("engine.max_num_seqs=16,,64", "empty value"),
        ("engine.max_num_seqs=", "empty value"),
        ("engine.max_num_seqs=16,16", "names 16 twice"),
        (f"seed={','.join(map(str, range(501)))}", "501 points"),
    ],
)
def test_what_is_no_axis(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("?", r"\?")) as caught:
        grids.axes({"lab": "offline"}, [text])
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("vary", "said"),
    [(3, "vary must be a table"), ({"engine": {"x": 3}}, "must be a list"), ({"seed": 3}, "must be a list"),
     ({"engine": {"x": []}}, "empty value"), ({"env": {"X": ["a"]}}, "cannot be varied")],
)  # fmt: skip
def test_a_labs_own_vary(vary: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        grids.axes({"lab": "mine", "vary": vary}, [])


def test_a_key_named_twice() -> None:
    with pytest.raises(UsageError, match=r"names engine\.max_num_seqs twice"):
        grids.axes({"lab": "mine"}, ["engine.max_num_seqs=1", "engine.max-num-seqs=2"])


def test_a_point_is_laid_over_the_options() -> None:
    values = {"engine.max_num_seqs": 16, "sampling.temperature": 0.0, "workload.sizes": [1, 2], "model": "m", "seed": 3}
    over = {"engine": ["enforce_eager=true"], "sampling": None, "workload": [], "model": None, "repeats": 2}
    assert grids.lay(values, over) == {
        "engine": ["enforce_eager=true", "max_num_seqs=16"],
        "sampling": ["temperature=0.0"],
        "workload": ["sizes=[1, 2]"],
        "model": "m",
        "seed": 3,
        "repeats": 2,
    }
    assert over["engine"] == ["enforce_eager=true"], "what is common to all points stays as it was"


@pytest.mark.parametrize(
    ("values", "over", "said"),
    [
        ({"engine.max_num_seqs": 1}, {"engine": ["--max-num-seqs=4"]}, "engine.max_num_seqs is varied"),
        ({"model": "a"}, {"model": "b"}, "model is varied: --model"),
        ({"seed": 1}, {"seed": 0}, "seed is varied: --seed"),
        ({"seed": "x"}, {}, "a seed is a whole number"),
        ({"seed": True}, {}, "a seed is a whole number"),
    ],
)
def test_options_that_contradict_a_grid(values: dict[str, Any], over: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        grids.lay(values, over)


def test_a_point_in_words() -> None:
    assert grids.words({"engine.max_num_seqs": 16, "engine.enforce_eager": True, "model": "m/x"}) == (
        "max_num_seqs=16 enforce_eager=true model=m/x"
    )
