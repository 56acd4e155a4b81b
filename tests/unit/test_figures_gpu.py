from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import figures, rundir
from labctl.runner.at_work import AT_WORK
from labctl.runner.figures.gpu import REASONS, names, whole_mask

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


@pytest.mark.parametrize("phase", sorted(AT_WORK))
def test_every_phase_of_work_counts(tmp_path: Path, phase: str) -> None:
    assert of_gpu(tmp_path, f"1.0,{phase},0,10,1,100,1980,2619,40,0")["gpu_power"]["value"] == 100


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
    assert (found["gpu_power"]["value"], found["gpu_power"]["n"]) == (500, 4)
    assert found["gpu_power"]["note"] == "GPU 0, 1, while the engine worked"
    assert found["gpu_sm_clock"]["low"] == 1700
    assert found["peak_gpu_temperature"]["value"] == 65
    assert found["gpu_throttled"]["value"] == 25
    assert "throttle_gpu_idle" not in found


def test_where_no_gpu_was_busy_all_count(tmp_path: Path) -> None:
    found = of_gpu(tmp_path, "1.0,up,0,0,0,70,345,2619,30,1", "1.0,up,1,0,0,80,345,2619,30,1")
    assert found["gpu_power"]["value"] == 75
    assert (found["gpu_throttled"]["value"], found["throttle_gpu_idle"]["value"]) == (0, 100)


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
