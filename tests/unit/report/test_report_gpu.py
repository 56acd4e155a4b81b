"""What the page shows of the GPUs: figures, curves, and when something held the clocks back."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

from labctl.report import banners, load
from labctl.report.curves import DRAWN, POINTS, gpus
from labctl.report.gpu_curves import REASONS, held_back, panels
from labctl.report.page import build
from labctl.runner import rundir
from tests.unit.report import made_runs
from tests.unit.report.report_page_checks import check

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.report.load import Sample


def sample(t: float, gpu: str = "0", **told: Any) -> Sample:
    none: Sample = dict.fromkeys(load.SAMPLED)
    return {**none, "t": t, "gpu": gpu, **told}


def words(page: Path) -> str:
    return " ".join(check(page.read_text(encoding="utf-8")).text.split())


def titles(run: Path) -> list[tuple[str, str]]:
    return [(one.kind, one.title) for one in banners.banners(load.read(run))]


def test_a_run_with_gpus_shows_them_beside_the_memory(tmp_path: Path) -> None:
    page = build(made_runs.gpus(tmp_path / "run"))
    html = unescape(page.read_text(encoding="utf-8"))
    headings = re.findall(r"<h2 id=\"[\w-]+\">([^<]+)</h2>", html)
    assert headings.index("GPU over time") == headings.index("Memory and load over time") + 1
    said = words(page)
    assert "Each of the GPU that it names, while the engine worked." in said
    assert "power of one GPU, W (GPU 0, the greatest of 2) 689.5 660 719 60" in said
    assert "SM clock, MHz (GPU 0, the slowest of 2) 1,890 1,861 1,920 60" in said
    assert "temperature, °C (GPU 1, the hottest of 2) — — 61 60" in said
    assert "hw thermal slowdown 25 % n = 60 · GPU 1, the most held back of 2" in said
    assert "applications clocks setting 25 % n = 60" in said
    assert "GPU 2" in said
    drawn = (page.parent / "gpu.svg").read_text(encoding="utf-8")
    for text in ("busy, %", "power, W", "SM clock, MHz", "temp., °C", "sw power", "hw thermal", "generate"):
        assert f"{text}</text>" in drawn, text
    assert "applications" not in drawn
    assert "![GPU load, power, clock and temperature over time](gpu.svg)" in page.with_suffix(".md").read_text()
    assert "gpu_power" not in said.partition("Other figures")[2]


def test_packages_that_were_left_out_stand_at_the_top(tmp_path: Path) -> None:
    run = made_runs.gpus(tmp_path / "run")
    kept = json.loads((run / rundir.RECORD).read_text(encoding="utf-8"))
    kept["nodes"] = [{"name": "h", "machine": {"left_out": {"tilelang": "asked", "<b>flash": "asked"}}, "packages": {}}]
    (run / rundir.RECORD).write_text(json.dumps(kept), encoding="utf-8")
    assert ("info", "Packages were left out") in titles(run)
    assert "without packages that it names, and does otherwise what they would do: <b>flash, tilelang." in words(
        build(run)
    )


def test_a_run_without_a_gpu_has_nothing_of_it(tmp_path: Path) -> None:
    run = made_runs.server(tmp_path / "run")
    (run / "report").mkdir()
    (run / "report" / "gpu.svg").write_text("of an earlier build")
    page = build(run)
    assert "GPU over time" not in words(page)
    assert "GPU over time" not in page.with_suffix(".md").read_text()
    assert not (run / "report" / "gpu.svg").exists()


def test_figures_that_an_older_runner_did_not_make_are_not_missed(tmp_path: Path) -> None:
    run = made_runs.gpus(tmp_path / "run", metrics={})
    path = run / "record.json"
    path.write_text(re.sub(r'"(gpu_|throttle_|peak_gpu_t)', r'"x_\1', path.read_text()))
    page = build(run)
    assert "power of one GPU" not in words(page)
    assert (run / "report" / "gpu.svg").exists()


@pytest.mark.parametrize(
    ("masks", "shown"),
    [
        ((0, 1, 2), []),
        ((0, 4), [("info", "A GPU ran at its power limit")]),
        ((4, 8), [("warn", "A GPU's clocks were held back")]),
        ((0, 0x800), [("warn", "A GPU's clocks were held back")]),
    ],
)
def test_what_held_the_clocks_back_is_said_at_the_top(
    tmp_path: Path, masks: tuple[int, ...], shown: list[tuple[str, str]]
) -> None:
    assert titles(made_runs.gpus(tmp_path / "run", masks)) == shown


def test_the_banner_names_the_reasons(tmp_path: Path) -> None:
    (banner,) = banners.banners(load.read(made_runs.gpus(tmp_path / "run", (0, 72))))
    assert "GPU 1, the most held back of 2: hw_slowdown in 50.0 %; hw_thermal_slowdown in 50.0 %." in banner.texts[0]


def test_a_curve_for_each_gpu_and_no_panel_that_none_told() -> None:
    rows = [sample(t / 5, gpu, gpu_util=50.0, power_w=100.0 if gpu == "1" else None)
            for t in range(3) for gpu in ("1", "0", "<b>")]  # fmt: skip
    found = {panel.label: panel.curves for panel in panels(rows)}
    assert list(found) == ["busy, %", "power, W"]
    assert [(curve.label, len(curve.points)) for curve in found["power, W"]] == [("GPU 0", 0), ("GPU 1", 3)]
    assert found["busy, %"][0].points == [(0.0, 50.0), (0.2, 50.0), (0.4, 50.0)]
    assert panels([sample(0.0, "", gpu_util=50.0)]) == []


def test_of_many_gpus_the_first_by_number_are_drawn() -> None:
    rows = [sample(t / 5, str(gpu), gpu_util=50.0, throttle=4.0) for t in range(2) for gpu in range(15, -1, -1)]
    assert gpus([*rows, sample(0.0, "MIG"), sample(0.0, "<b>")]) == [*map(str, range(16)), "MIG"]
    ((_, curves),) = panels(rows)
    assert [curve.label for curve in curves] == [f"GPU {gpu}" for gpu in range(DRAWN)]
    assert [one.place for one in held_back(rows)] == list(range(DRAWN))


@pytest.mark.parametrize(("count", "said"), [(8, False), (16, True)])
def test_gpus_that_are_not_drawn_are_told_of(tmp_path: Path, count: int, said: bool) -> None:  # noqa: FBT001
    run = made_runs.gpus(tmp_path / "run")
    head, *rows = (run / rundir.SAMPLES).read_text(encoding="utf-8").splitlines()
    ours = [row.split(",") for row in rows if row.split(",")[2] == "0"]
    many = [",".join([*row[:2], str(gpu), *row[3:]]) for row in ours for gpu in range(count)]
    (run / rundir.SAMPLES).write_text("\n".join([head, *many]), encoding="utf-8")
    assert ("The first 8 of 16 GPUs are drawn." in words(build(run))) is said


def test_figures_of_one_gpu_name_it_once(tmp_path: Path) -> None:
    said = words(build(made_runs.gpus(tmp_path / "run", spec={})))
    assert "GPU 0, while the engine worked" in said
    assert "power of one GPU, W 689.5" in said


def test_a_long_curve_keeps_its_dip_and_its_peak() -> None:
    rows = [sample(float(t), sm_clock_mhz=1980.0) for t in range(10_000)]
    rows[5000]["sm_clock_mhz"], rows[7000]["sm_clock_mhz"] = 345.0, 2100.0
    ((_, (curve,)),) = panels(rows)
    assert len(curve.points) <= POINTS + 2
    assert {(5000.0, 345.0), (7000.0, 2100.0), (0.0, 1980.0)} <= set(curve.points)
    assert curve.points == sorted(curve.points)


def test_a_reason_lasts_until_the_next_sample_that_lacks_it() -> None:
    masks = [0.0, 4.0, 5.0, 0.0, None, 4.0, 3.0, 64.0, -1.0, 0.5]
    rows = [sample(float(t), throttle=mask) for t, mask in enumerate(masks)]
    rows.append(sample(3.0, "1", throttle=4.0))
    rows.reverse()
    cap, other, thermal = held_back(rows)
    assert (cap.reason, cap.place, [(start, round(lasted, 3)) for start, lasted in cap.bars]) == (
        "sw_power_cap", 0, [(1.0, 2.0), (5.0, 1.0)],
    )  # fmt: skip
    assert (other.reason, other.place, other.bars) == ("sw_power_cap", 1, [(3.0, 0.0)])
    assert (thermal.reason, thermal.bars[0][0]) == ("hw_thermal_slowdown", 7.0)


def test_of_ever_so_many_reasons_and_changes_few_are_drawn() -> None:
    rows = [sample(float(t), throttle=float(2**50 - 1 if t % 2 else 0)) for t in range(20_000)]
    found = held_back(rows)
    assert len(found) == REASONS
    assert all(len(one.bars) <= POINTS for one in found)
    assert found[0].reason == "sw_power_cap"
