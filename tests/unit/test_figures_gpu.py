from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import figures, rundir
from labctl.runner.at_work import ASKED, AT_WORK, WAITING
from labctl.runner.figures.cards import own
from labctl.runner.figures.gpu import REASONS, names, whole_mask
from labctl.runner.figures.resources import samples

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "t,phase,gpu,gpu_util,gpu_mem_util,power_w,sm_clock_mhz,mem_clock_mhz,temp_c,throttle\n"
OWN = {
    "gpu_power", "gpu_sm_clock", "gpu_mem_clock", "gpu_util", "gpu_mem_util", "peak_gpu_temperature", "gpu_throttled"
}  # fmt: skip


def of_gpu(tmp_path: Path, *rows: str) -> dict[str, Any]:
    """The GPU's figures of these rows of samples.csv."""
    (tmp_path / rundir.SAMPLES).write_text(HEAD + "".join(f"{row}\n" for row in rows))
    found = figures.compute(tmp_path)
    return {name: found[name] for name in found if name in OWN or name.startswith("throttle_")}


def test_only_samples_of_a_working_engine_count(tmp_path: Path) -> None:
    found = of_gpu(
        tmp_path,
        "1.0,engine,0,99,9,700,300,2619,90,4",
        "2.0,warmup,0,10,1,100,1980,2619,40,0",
        "3.0,generate,0,50,5,300,1500,2619,60,0",
        "4.0,generate,0,30,3,200,1980,2619,55,0",
        "5.0,shutdown,0,0,0,70,345,2619,95,1",
        "6.0,,0,0,0,70,345,2619,95,1",
    )
    assert set(found) == OWN
    power = found["gpu_power"]
    assert (power["value"], power["low"], power["high"], power["n"], power["unit"]) == (200, 100, 300, 3, "W")
    assert power["sources"] == ["samples.csv:3-5"]
    assert power["note"] == "GPU 0, while the engine worked"
    clock = found["gpu_sm_clock"]
    assert (clock["value"], clock["low"], clock["unit"]) == (1980, 1500, "MHz")
    assert found["gpu_mem_clock"]["value"] == 2619
    assert (found["gpu_util"]["value"], found["gpu_mem_util"]["value"]) == (30, 3)
    assert (found["peak_gpu_temperature"]["value"], found["peak_gpu_temperature"]["sources"]) == (60, ["samples.csv:4"])
    assert found["gpu_throttled"]["value"] == 0
    assert found["gpu_throttled"]["sources"] == ["samples.csv:3-5"]


@pytest.mark.parametrize("phase", sorted(ASKED))
def test_every_phase_of_work_counts(tmp_path: Path, phase: str) -> None:
    assert of_gpu(tmp_path, f"1.0,{phase},0,10,1,100,1980,2619,40,0")["gpu_power"]["value"] == 100


@pytest.mark.parametrize("phase", sorted(WAITING))
def test_a_server_that_waits_for_others_counts_for_nothing(tmp_path: Path, phase: str) -> None:
    assert phase in AT_WORK
    asked, waiting = "1.0,call,0,10,1,100,1980,2619,40,0", f"2.0,{phase},0,0,0,70,345,2619,30,64"
    assert of_gpu(tmp_path, waiting) == {}
    found = of_gpu(tmp_path, asked, waiting, waiting)
    assert (found["gpu_power"]["value"], found["gpu_power"]["n"], found["gpu_throttled"]["value"]) == (100, 1, 0)


def test_reasons_are_named_with_their_share(tmp_path: Path) -> None:
    found = of_gpu(
        tmp_path,
        "1.0,point,0,10,1,100,1980,2619,40,1",
        "2.0,point,0,10,1,100,1980,2619,40,4",
        "3.0,point,0,10,1,100,1980,2619,40,68",
        "4.0,point,0,10,1,100,1980,2619,40,2",
        "5.0,point,0,10,1,100,1980,2619,40,2048",
    )
    shares = {name: one["value"] for name, one in found.items() if name.startswith("throttle_")}
    assert shares == {
        "throttle_gpu_idle": 20, "throttle_applications_clocks_setting": 20, "throttle_sw_power_cap": 40,
        "throttle_hw_thermal_slowdown": 20, "throttle_0x800": 20,
    }  # fmt: skip
    assert (found["gpu_throttled"]["value"], found["gpu_throttled"]["unit"], found["gpu_throttled"]["n"]) == (
        60,
        "%",
        5,
    )
    assert found["gpu_throttled"]["note"] == "sw_power_cap in 40.0 %; hw_thermal_slowdown in 20.0 %; 0x800 in 20.0 %"
    assert found["gpu_throttled"]["sources"] == ["samples.csv:3-6"]
    assert found["throttle_hw_thermal_slowdown"]["sources"] == ["samples.csv:4"]


def test_gpus_that_worked_together_count_together_and_idle_ones_do_not(tmp_path: Path) -> None:
    found = of_gpu(
        tmp_path,
        "1.0,generate,0,90,1,600,1900,2619,60,0",
        "1.0,generate,1,0,0,400,1700,2619,50,4",
        "1.0,generate,2,0,0,70,345,2619,99,1",
        "2.0,generate,0,80,1,500,1900,2619,60,0",
        "2.0,generate,1,70,1,500,1900,2619,65,0",
        "2.0,generate,2,0,0,70,345,2619,30,1",
    )
    assert (found["gpu_power"]["value"], found["gpu_power"]["n"]) == (550, 2)
    assert found["gpu_power"]["note"] == "GPU 0, the greatest of 2, while the engine worked"
    assert (found["gpu_sm_clock"]["value"], found["gpu_sm_clock"]["low"]) == (1800, 1700)
    assert found["gpu_sm_clock"]["note"] == "GPU 1, the slowest of 2, while the engine worked"
    assert found["gpu_util"]["value"] == 35
    assert found["peak_gpu_temperature"]["value"] == 65
    assert found["gpu_throttled"]["value"] == 50
    assert "throttle_gpu_idle" not in found


def test_where_no_gpu_was_busy_all_count(tmp_path: Path) -> None:
    found = of_gpu(tmp_path, "1.0,call,0,0,0,70,345,2619,30,1", "1.0,call,1,0,0,80,345,2619,30,1")
    assert found["gpu_power"]["value"] == 80
    assert (found["gpu_throttled"]["value"], found["throttle_gpu_idle"]["value"]) == (0, 100)
    assert found["gpu_throttled"]["note"] == "on none of 2 GPUs, of the samples while the engine worked"


def test_a_strangers_work_on_another_gpu_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / rundir.SPEC).write_text('{"engine": {}}')
    ours, other = "1.0,generate,0,50,1,200,1980,2619,40,0", "1.0,generate,1,99,9,690,1200,2619,80,64"
    assert of_gpu(tmp_path, ours, other) == of_gpu(tmp_path, ours)


def test_one_throttled_gpu_of_eight_is_seen(tmp_path: Path) -> None:
    (tmp_path / rundir.SPEC).write_text('{"engine": {"tensor_parallel_size": 8}}')
    rows = [
        f"{t},generate,{gpu},{70 if gpu == 2 else 90},1,{650 if gpu == 5 else 600},{600 if gpu == 3 else 1980},"
        f"2619,{88 if gpu == 4 else 60},{64 if gpu == 3 else 4 * (gpu == 6 and t == 0)}"
        for t in range(4)
        for gpu in range(8)
    ]
    found = of_gpu(tmp_path, *rows)
    told = {name: (one["value"], one["note"].partition(",")[0], one["n"]) for name, one in found.items()}
    assert told["gpu_sm_clock"] == (600, "GPU 3", 4)
    assert told["gpu_power"] == (650, "GPU 5", 4)
    assert told["gpu_util"] == (70, "GPU 2", 4)
    assert told["peak_gpu_temperature"] == (88, "GPU 4", 4)
    assert told["gpu_throttled"] == (100, "GPU 3", 4)
    assert told["throttle_sw_power_cap"] == (25, "GPU 6", 4)
    assert found["gpu_throttled"]["note"] == (
        "GPU 3, the most held back of 8: sw_power_cap in 25.0 % of GPU 6's; hw_thermal_slowdown in 100.0 %"
    )
    assert found["gpu_throttled"]["sources"] == ["samples.csv:5-29"]


@pytest.mark.parametrize(
    ("asked", "inherited", "cards"),
    [
        ({}, None, frozenset({0})),
        ({"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "data_parallel_size": 2}, None, frozenset(range(8))),
        ({"tensor_parallel_size": 2}, "4, 2,7", frozenset({4, 2})),
        ({"tensor_parallel_size": 4}, "6,1", frozenset({6, 1})),
        ({}, "GPU-1234", None),
        ({}, "", None),
        ({}, "-1", None),
        ({}, "99999999999999999999", None),
        ({"tensor_parallel_size": "many"}, None, None),
        ({"tensor_parallel_size": [2]}, None, None),
        ({"tensor_parallel_size": -1}, None, None),
        ({"tensor_parallel_size": 10**9}, None, None),
        ({"distributed_executor_backend": "ray"}, None, None),
        ({"nnodes": 2}, None, None),
    ],
)
def test_the_runs_own_cards(
    tmp_path: Path, asked: dict[str, Any], inherited: str | None, cards: frozenset[int] | None
) -> None:
    (tmp_path / rundir.SPEC).write_text(json.dumps({"engine": asked, "env": {}}))
    system = tmp_path / rundir.SYSTEM
    system.parent.mkdir()
    system.write_text(json.dumps({"environment": {} if inherited is None else {"CUDA_VISIBLE_DEVICES": inherited}}))
    assert own(tmp_path) == cards


def test_what_the_spec_sets_comes_before_what_the_host_has(tmp_path: Path) -> None:
    (tmp_path / rundir.SPEC).write_text(json.dumps({"engine": {}, "env": {"CUDA_VISIBLE_DEVICES": "3"}}))
    (tmp_path / rundir.SYSTEM).parent.mkdir()
    (tmp_path / rundir.SYSTEM).write_text('{"environment": {"CUDA_VISIBLE_DEVICES": "5"}}')
    assert own(tmp_path) == frozenset({3})


@pytest.mark.parametrize(
    "spec",
    ["", "[", "[]", "{}", '{"engine": 1}', '{"engine": {}, "env": 1, "span": {"hosts": ["a", "b"]}}',
     '{"engine": {}, "workload": {"kind": "serve-bench", "server": "kept"}}'],
)  # fmt: skip
def test_a_spec_that_does_not_tell_leaves_the_cards_unknown(tmp_path: Path, spec: str) -> None:
    assert own(tmp_path) is None
    (tmp_path / rundir.SPEC).write_text(spec)
    assert own(tmp_path) is None


def test_cards_that_were_never_sampled_are_not_the_runs(tmp_path: Path) -> None:
    (tmp_path / rundir.SPEC).write_text('{"engine": {}, "env": {"CUDA_VISIBLE_DEVICES": "7"}}')
    found = of_gpu(tmp_path, "1.0,generate,0,50,1,200,1980,2619,40,0", "1.0,generate,1,0,0,70,345,2619,30,1")
    assert found["gpu_power"]["note"] == "GPU 0, while the engine worked"


def test_rows_that_are_short_long_or_hold_no_number(tmp_path: Path) -> None:
    (tmp_path / rundir.SAMPLES).write_text('rss,t,extra,gpu\n1\n2,3.0,x,1,9,9\n\n"4\n",nan,,0\n')
    found = [(one.line, one.rss, one.t, one.gpu, one.phase, one.throttle) for one in samples(tmp_path)]
    assert found == [(2, 1, None, None, "", None), (3, 2, 3, 1, "", None), (6, 4, None, 0, "", None)]


def test_what_nvml_refuses_is_unknown(tmp_path: Path) -> None:
    found = of_gpu(tmp_path, "1.0,generate,0,,,100,,,,", "2.0,generate,0,,,oops,nan,inf,1e300,-1")
    assert (found["gpu_power"]["value"], found["gpu_power"]["n"]) == (100, 1)
    for name in OWN - {"gpu_power"}:
        assert found[name]["value"] is None, name
        assert found[name]["note"] == "NVML does not say on this machine", name


@pytest.mark.parametrize("row", ["1.0,generate,,,,,,,,", "1.0,engine,0,10,1,100,1980,2619,40,0"])
def test_without_a_gpu_or_without_work_there_are_none(tmp_path: Path, row: str) -> None:
    assert of_gpu(tmp_path, row) == {}


def test_a_blank_line_shifts_no_source(tmp_path: Path) -> None:
    assert of_gpu(tmp_path, "", "1.0,call,0,10,1,100,1980,2619,40,0")["gpu_power"]["sources"] == ["samples.csv:3"]


def test_the_names_are_those_of_nvml() -> None:
    pynvml = pytest.importorskip("pynvml")
    told = {
        value: name.removeprefix("nvmlClocksEventReason")
        for name, value in vars(pynvml).items()
        if name.startswith("nvmlClocksEventReason") and not name.endswith(("All", "None", "UserDefinedClocks"))
    }
    assert {bit: name.title().replace("_", "") for bit, name in REASONS.items() if bit in told} == told


@pytest.mark.parametrize(
    ("value", "mask"), [(68.0, 68), (0.0, 0), (-1.0, None), (0.5, None), (None, None), (2.0**60, None)]
)
def test_masks(value: float | None, mask: int | None) -> None:
    assert whole_mask(value) == mask


def test_names_of_a_mask() -> None:
    assert names(0) == []
    assert names(0x49) == ["gpu_idle", "hw_slowdown", "hw_thermal_slowdown"]
    assert names(0x800 | 0x4) == ["sw_power_cap", "0x800"]
