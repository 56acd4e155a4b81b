"""What the page says of each kind of run."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from labctl.cli import app
from labctl.report import load, study
from labctl.report.draw import axes
from labctl.report.draw.arrivals import DECODE, FAILED, FIRST, HELD
from labctl.report.page import build
from labctl.report.render import TEMPLATES
from labctl.report.shown import Shown
from tests.unit.report import made_runs
from tests.unit.report.report_page_checks import Page, check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def page_of(run: Path) -> Page:
    return check(build(run).read_text(encoding="utf-8"))


def words(page: Page) -> str:
    return " ".join(page.text.split())


def headings(run: Path) -> list[str]:
    text = (run / "report" / "report.html").read_text(encoding="utf-8")
    return re.findall(r"<h2 id=\"[\w-]+\">([^<]+)</h2>", unescape(text))


def test_a_server_shows_its_calls_and_why_one_was_refused(tmp_path: Path) -> None:
    template = {
        "t": 25.0,
        "event": "chat_template",
        "name": "labctl:plain.jinja",
        "given": "request",
        "text": "{{ m }}",
    }
    run = made_runs.server(tmp_path / "run", events=[template])
    page = page_of(run)
    said = words(page)
    assert headings(run)[0] == "Calls"
    assert "Outputs" not in headings(run)
    assert "HTTP 400: no chat template (call 2 chat)" in said
    assert "sent again with labctl:plain.jinja" in said
    assert "PagedAttention is <b>" in said
    assert "… 18 more events" in said
    assert '"prompt": "San Francisco is a"' in said
    assert "44 ms" in said
    assert "outputs.jsonl is not" not in said
    linked = [value for tag, name, value in page.attributes if tag == "a" and name == "title"]
    assert "from api/calls.jsonl:4" in linked


def test_a_server_that_nobody_refused_is_not_explained(tmp_path: Path) -> None:
    rows = [row for row in made_runs.CALLS if row["status"] == 200]
    run = made_runs.make(tmp_path / "run", made_runs.ASKED, {"api/calls.jsonl": made_runs.lines(rows)})
    assert "HTTP 400" not in words(page_of(run))


def test_a_kept_server_tells_its_restarts_and_what_lies_open(tmp_path: Path) -> None:
    said = words(page_of(made_runs.hold(tmp_path / "run")))
    assert "Exposed on 10.0.0.5" in said
    assert "clear text" in said
    assert "1 of 3" in said
    assert "vllm serve ended with exit status -9" in said
    assert "40 routes were asked without the key" in said
    assert "/health" in said


def test_batches_stand_beside_the_tutorials_loop_and_the_limits(tmp_path: Path) -> None:
    run = made_runs.batches(tmp_path / "run")
    page = page_of(run)
    said = words(page)
    assert headings(run)[:2] == ["Throughput by batch size", "The machine's limits"]
    assert "374.8 tok/s" in said  # the first pass at 8
    assert "1,197 tok/s" in said
    assert "70.16 %" in said
    assert "3,030 GB/s" in said
    assert "Measured earlier on this host" in said
    assert "Random weights" in said
    assert "throughput_b8" not in said  # nothing is listed twice
    drawing = (run / "report" / "batches.svg").read_text(encoding="utf-8")
    for label in ("the tutorial's loop: first pass, no warm-up", "256", "what the machine's limits allow"):
        assert label in drawing


def test_a_start_is_drawn_up_to_the_ready_engine_alone(tmp_path: Path) -> None:
    run = made_runs.batches(tmp_path / "run")
    build(run)
    drawing = (run / "report" / "startup.svg").read_text(encoding="utf-8")
    assert "ready" in drawing
    assert "tutorial" not in drawing


def test_a_serving_benchmark_shows_percentiles_by_load(tmp_path: Path) -> None:
    run = made_runs.serve_bench(tmp_path / "run")
    said = words(page_of(run))
    assert "128 at once" in said
    assert "904.3 ms" in said  # p99 of the time to first token at 128
    assert "7,274 tok/s" in said
    assert "ttft within 200 ms" in said
    for plot in ("serve-latency", "serve-throughput"):
        assert (run / "report" / f"{plot}.svg").is_file()


def test_a_serving_benchmark_without_events_shows_the_clients_own_files(tmp_path: Path) -> None:
    held = (made_runs.CAPTURES / "bench-serve-qwen2.5-7b-concurrency-8.json").read_bytes()
    asked = {"kind": "serve_bench", "concurrencies": [8]}
    said = words(page_of(made_runs.make(tmp_path / "run", asked, {"bench/serve-01.json": held})))
    assert "8 at once" in said
    assert "1,223" in said


def test_batching_is_drawn_and_said_in_words(tmp_path: Path) -> None:
    run = made_runs.batching(tmp_path / "run")
    said = words(page_of(run))
    assert "Continuous batching: 1.44 times the throughput of static batches." in said
    assert "10.90 s" in said
    drawing = (run / "report" / "lives.svg").read_text(encoding="utf-8")
    assert all(colour in drawing for colour in (HELD, FIRST))
    assert FAILED not in drawing
    assert "KV cache, %" in (run / "report" / "load.svg").read_text(encoding="utf-8")


def test_what_must_be_known_of_ratios_stands_under_them(tmp_path: Path) -> None:
    said = words(page_of(made_runs.batching(tmp_path / "run")))
    assert "Each way was measured once" in said
    told = {"value": None, "unit": "x", "note": "throughput, continuous / static; both are bound by the arrivals"}
    said = words(page_of(made_runs.batching(tmp_path / "paced", metrics={"ratio_static": told})))
    assert "Not compared: throughput, continuous / static; both are bound by the arrivals" in said
    assert "the throughput of static batches" not in said


def test_parameters_are_a_table_in_both_languages(tmp_path: Path) -> None:
    run = made_runs.parameters(tmp_path / "run")
    said = words(page_of(run))
    assert "同时运行的最大请求数" in said
    assert "most requests at a time" in said
    assert "not set" in said
    assert "removed in vLLM 0.18.0" in said
    assert "Start-up" not in headings(run)
    assert "samples.csv" not in said


def test_a_span_says_who_died_with_its_last_lines(tmp_path: Path) -> None:
    said = words(page_of(made_runs.span(tmp_path / "run")))
    assert "The last lines of the log of gpu2:" in said
    assert "the last line of gpu2" in said
    assert "The engine ended because of gpu2" in said
    assert "10.0.0.2" in said


def test_a_study_shows_each_point_and_why_one_was_impossible(tmp_path: Path) -> None:
    path = made_runs.study(tmp_path)
    build(tmp_path / "runs" / "r0")
    page = check(study.build(path).read_text(encoding="utf-8"))
    said = words(page)
    assert "5 points, 3 finished, 1 impossible or failed" in said
    assert "max_num_seqs <16> makes no sense with that" in said
    assert "4,800" in said
    assert "A point that could not be run is a result too" in said
    assert "450 tok/s" in said
    links = [value for tag, name, value in page.attributes if tag == "a" and name == "href"]
    assert set(links) == {"../../runs/r0/report/report.html"}
    drawing = path.with_suffix("").joinpath("study.svg").read_text(encoding="utf-8")
    assert "throughput, tok/s" in drawing
    assert "256" in drawing


def test_a_drawing_of_an_earlier_page_goes_away(tmp_path: Path) -> None:
    run = made_runs.batching(tmp_path / "run")
    build(run)
    (run / "arrivals.jsonl").unlink()
    page = page_of(run)
    assert not (run / "report" / "lives.svg").exists()
    assert "arrivals.jsonl is not in the run directory." in words(page)


def test_only_figures_that_were_shown_leave_the_list_of_others(tmp_path: Path) -> None:
    run = made_runs.parameters(tmp_path / "run", metrics={"throughput_b8": {"value": 1}, "new": {"value": 2}})
    shown = Shown(load.read(run), {})
    shown.figure("throughput_b8")
    shown.figure("absent")
    assert shown.taken == {"throughput_b8"}


THEMES: dict[str, Callable[[str], str]] = {
    "light": lambda style: style[: style.index("@media (prefers-color-scheme")],
    "dark": lambda style: style[style.index("@media (prefers-color-scheme") : style.index("* { box-sizing")],
}


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    whole = colour if len(colour) == 7 else "#" + "".join(sign * 2 for sign in colour[1:])
    parts = [int(whole[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_texts_and_drawings_stand_out_from_their_ground(theme: str) -> None:
    style = THEMES[theme]((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    named: dict[str, Any] = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+);", style))
    pairs = [(text, ground) for text in ("ink", "faint", "accent") for ground in ("ground", "panel")]
    pairs += [(tone, f"{tone}-bg") for tone in ("good", "bad", "warn", "info")]
    for text, ground in pairs:
        assert contrast(named[text], named[ground]) >= 4.5, (text, ground)
    for colour in (*axes.COLOURS, HELD, FIRST, DECODE, FAILED):
        assert contrast(colour, named["ground"]) >= 3.0, colour


def test_the_page_of_a_run_is_the_same_each_time(tmp_path: Path) -> None:
    run = made_runs.serve_bench(tmp_path / "run")
    first = build(run).read_bytes()
    assert build(run).read_bytes() == first
    assert json.loads((run / "record.json").read_text())["status"] == "ok"


def test_the_run_of_a_real_h100_shows_what_an_unwarmed_pass_hides(tmp_path: Path) -> None:
    golden = made_runs.BATCHES.parents[1]
    said = words(check(build(golden, into=tmp_path).read_text(encoding="utf-8")))
    assert "73.26 %" in said  # of the bandwidth limit at batch 1
    assert "374.8 tok/s" in said  # first pass at 8, a kernel being compiled
    assert "_topk_topp_kernel" in said
    drawing = (tmp_path / "batches.svg").read_text(encoding="utf-8")
    assert "first pass of each size, no warm-up" in drawing


def test_the_model_of_another_runs_server_is_that_servers(tmp_path: Path) -> None:
    """The spec names the lab's, which was never loaded."""
    told = {"requested": "Qwen/Qwen2.5-0.5B-Instruct", "used": "/models/q", "synthetic": True, "weights": "dummy"}
    run = made_runs.serve_bench(tmp_path / "run", model=told, server="kept")
    said = words(page_of(run))
    assert "Qwen/Qwen2.5-0.5B-Instruct" in said
    assert "facebook/opt-125m" not in said
    shown = CliRunner().invoke(app, ["show", str(run)]).output
    assert "random weights of Qwen/Qwen2.5-0.5B-Instruct" in shown
