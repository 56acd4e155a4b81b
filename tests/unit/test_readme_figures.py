"""The figures of the READMEs follow from golden runs, and whatever does not is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import phases, rundir
from tests.readme import blocks, costs
from tests.readme.__main__ import FIGURES, ROOT, made, main
from tests.readme.golden import Goldens
from tests.readme.lines import PROVISION
from tests.readme.words import PHASES, READMES, SENTENCES, WORDS

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parents[1] / "data" / "runs"
SMALL, LARGE = "facebook/opt-125m", "Qwen/Qwen2.5-7B-Instruct"
# Golden run: the run that stands in for it here, its model, how its engine started.
STAND_INS = {
    "cpu-offline": ("cpu-offline", SMALL, "cold"),
    "h100-offline-cold": ("cpu-offline", SMALL, "cold"),
    "h100-offline-warm-1": ("cpu-offline", SMALL, "warm"),
    "h100-offline-warm-2": ("cpu-offline", SMALL, "warm"),
    "h100-offline-unkept": ("cpu-offline", SMALL, "cold"),
    "h100-offline-7b": ("cpu-offline", LARGE, "cold"),
    "h100-bench": ("h100-bench-qwen2.5-7b-converted", SMALL, "warm"),
    "h100-bench-7b": ("h100-bench-qwen2.5-7b-converted", LARGE, "warm"),
}


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def events(run: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    rows = [json.loads(line) for line in (run / rundir.EVENTS).read_text(encoding="utf-8").splitlines()]
    change(rows)
    (run / rundir.EVENTS).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def started(run: Path, state: str) -> None:
    """Have the engine found its compile cache filled, or not."""
    found = {"t": 80.0, "event": "compile_cache", "before": 14 * (state == "warm"), "after": 14, "eager": False}

    def change(rows: list[dict[str, Any]]) -> None:
        rows[:] = [found if row["event"] == "compile_cache" else row for row in rows]
        if found not in rows:
            rows.append(found)

    events(run, change)


def stand_in(run: Path, model: str, state: str) -> None:
    def change(record: dict[str, Any]) -> None:
        record["supervisor"].pop("converted", None)
        record["model"]["requested"] = model
        record["anchor"]["utc"] = "2026-11-26T01:02:03.000+00:00"
        record["nodes"][0]["packages"] |= {"vllm": "0.25.1", "torch": "2.11.0"}
        record["nodes"][0]["machine"]["gpus"] = [{"name": "NVIDIA H100", "driver_version": "580.1"}]

    edit(run / rundir.RECORD, change)
    started(run, state)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two READMEs that were made from stand-ins of all golden runs."""
    folder = tmp_path_factory.mktemp("readme")
    for name, (source, model, state) in STAND_INS.items():
        shutil.copytree(DATA / source, folder / "runs" / name)
        if name != "cpu-offline":
            stand_in(folder / "runs" / name, model, state)
    (folder / "runs" / costs.RUN).symlink_to(DATA / costs.RUN)
    shutil.copy(DATA.parent / costs.THEIRS, folder)
    (folder / PROVISION).mkdir()
    for name, told in (("provision", {"changed": 12, "seconds": 63.2}), ("again", {"changed": 0, "seconds": 11})):
        row = {"utc": "2026-11-26T08:00:00.000+00:00", "event": "end", "failed": 0, **told}
        (folder / PROVISION / f"{name}.jsonl").write_text(f"{{}}\n{json.dumps(row)}\n", encoding="utf-8")
    empty = "\n".join(f"<!-- figures: {name} (made by make readme) --><!-- end -->" for name in FIGURES)
    for name in READMES:
        (folder / name).write_text(f"# A title\n\n{empty}\n", encoding="utf-8")
    assert run(folder) == 0
    return folder


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(original, tmp_path / "root", symlinks=True))


def run(root: Path, *words: str) -> int:
    return main([*words, "--root", str(root), "--runs", str(root / "runs")])


def figure(root: Path, name: str, language: str = "en") -> str:
    texts, problems = made(Goldens(root / "runs"), language)
    assert problems == []
    return texts[name]


def cells(table: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in rows}


def test_what_was_made_is_as_it_should_be(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "--check") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", READMES)
def test_a_changed_figure_is_found(root: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / name
    text = path.read_text(encoding="utf-8")
    changed = text.replace("22,869 tok/s", "32,869 tok/s", 1)
    assert changed != text
    path.write_text(changed, encoding="utf-8")
    assert run(root, "--check") == 1
    said = capsys.readouterr().out
    assert name in said
    assert [line[0] for line in said.splitlines() if ",869 tok/s" in line] == ["-", "+"]
    assert path.read_text(encoding="utf-8") == changed  # to check is not to write
    assert run(root) == 0
    assert path.read_text(encoding="utf-8") == text


def test_the_results_are_those_of_the_runs(root: Path) -> None:
    table = figure(root, "h100")
    told = cells(table)
    label = "synthetic (random weights)"
    assert told["model"] == [f"{SMALL}, {label}", f"{LARGE}, {label}"]
    # Of the converted benchmark: 8474.403 (8462.343 to 8486.463) tok/s, 64.2635 % of 3010.176 GB/s.
    assert told["batch 64"] == ["8,474 tok/s (spread 0.285 %), 64.26 % of the bandwidth"] * 2
    assert "1,022,416 tokens" in told["KV cache"]
    # The benchmark was asked for other engine arguments, so its start is no warm one of the same.
    assert told["start-up, cold"] == ["73.11 s", "73.11 s"]
    assert told["start-up, warm"] == ["73.11 s (73.11 – 73.11 s, n = 2)", "—"]
    assert "NVIDIA H100, driver 580.1, vLLM 0.25.1, torch 2.11.0; 2026-11-26." in table
    assert "median of 2 repeats" in table
    assert "3,010 GB/s" in table


def test_a_benchmark_started_alike_counts_as_a_start(root: Path) -> None:
    for name in ("h100-offline-7b", "h100-bench-7b"):
        edit(root / "runs" / name / rundir.SPEC, lambda spec: spec.update(engine={"max_model_len": 2048}))
    assert cells(figure(root, "h100"))["start-up, warm"][1] == "74.00 s"
    started(root / "runs" / "h100-bench-7b", "cold")  # after a run that had compiled most of it
    told = cells(figure(root, "h100"))
    assert (told["start-up, cold"][1], told["start-up, warm"][1]) == ("73.11 s", "—")


def test_the_phases_add_up_to_the_start(root: Path) -> None:
    def sooner(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["t"] += 4.0 if row["event"] == "start" or (row["event"], row.get("phase")) == ("begin", "import") else 0

    for number in (1, 2):
        events(root / "runs" / f"h100-offline-warm-{number}", sooner)
    told = cells(figure(root, "start-up"))
    assert told["import of vLLM"] == ["8.71", "4.71", "4.71", "0.541", "8.71"]
    assert told["sum"] == ["73.11", "69.11", "69.11", "0.945", "73.11"]
    parts = [float(row[0]) for name, row in told.items() if row[-1:] != ["--:"] and name != "sum" and "." in row[0]]
    assert sum(parts) == pytest.approx(73.114, abs=0.05)
    assert told["memory profiling"][-2] == "—"  # of milliseconds a ratio says nothing


def test_phases_that_do_not_add_up_are_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def later(rows: list[dict[str, Any]]) -> None:
        rows[0]["t"] -= 3.0  # the start, before anything that a phase could name

    events(root / "runs" / "h100-offline-warm-2", later)
    assert run(root, "--check") == 1
    assert "the phases of the golden run h100-offline-warm-2 take 73.113 s" in capsys.readouterr().out


def test_raw_files_change_the_figures_and_a_record_alone_does_not(root: Path) -> None:
    before = figure(root, "cpu")
    assert "93.18 tok/s (spread 3.03 %), cold start-up 73.11 s" in before
    path = root / "runs" / "cpu-offline"
    edit(path / rundir.RECORD, lambda record: record["metrics"]["throughput"].update(value=999.0))
    assert figure(root, "cpu") == before

    def faster(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["output_tokens"] = row.get("output_tokens", 0) * 2

    events(path, faster)
    assert "186.4 tok/s (spread 3.03 %)" in figure(root, "cpu")
    assert run(root, "--check") == 1


def test_what_the_record_says_of_its_run_is_shown(root: Path) -> None:
    path = root / "runs" / "cpu-offline" / rundir.RECORD
    assert f"{SMALL}, synthetic (random weights):" in figure(root, "cpu")
    edit(path, lambda record: record["model"].update(synthetic=False))
    edit(path, lambda record: record["nodes"][0]["packages"].update(vllm="0.99.0"))
    assert f"vLLM 0.99.0, torch 2.13.0+cpu; 2026-11-22), {SMALL}: 93.18" in figure(root, "cpu")


@pytest.mark.parametrize("name", STAND_INS)
def test_a_missing_run_is_told(root: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(root / "runs" / name)
    before = (root / "README.md").read_text(encoding="utf-8")
    for words in ((), ("--check",)):
        assert run(root, *words) == 1
        assert capsys.readouterr().out == f"there is no golden run {name} in {root / 'runs'}\n"
    assert (root / "README.md").read_text(encoding="utf-8") == before


def test_what_measuring_costs_is_computed_from_the_run_and_from_what_vllm_wrote(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = figure(root, "costs")
    # As sampler_cost printed on the H100, where it knew when it had switched: 1.0046 [0.9887, 1.0099].
    assert "with the sampler / without, in one engine, 1.005 [0.989, 1.010] (median of 12 pairs" in said
    assert "those 24 passes is 2,438 tok/s, one pass of `vllm bench throughput` 2,434 tok/s: 1.002" in said
    edit(root / costs.THEIRS, lambda told: told.update(vllm_seconds=told["vllm_seconds"] * 2))
    assert "1,217 tok/s: 2.003" in figure(root, "costs")
    edit(root / costs.THEIRS, lambda told: told.update(run="another"))
    assert run(root, "--check") == 1
    assert f"was not measured beside the golden run {costs.RUN}" in capsys.readouterr().out


def test_a_sampler_that_never_stood_still_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = root / "runs" / costs.RUN
    link.unlink()
    shutil.copytree(DATA / costs.RUN, link)
    head, *rows = (link / rundir.SAMPLES).read_text(encoding="utf-8").splitlines()
    began, ended = (float(row.split(",")[0]) for row in (rows[0], rows[-1]))
    made_up = [f"{began + n / 5:.3f}," + "," * (head.count(",") - 1) for n in range(int((ended - began) * 5))]
    (link / rundir.SAMPLES).write_text("\n".join([head, *made_up]) + "\n", encoding="utf-8")
    assert run(root, "--check") == 1
    assert "was to be without the sampler, and has" in capsys.readouterr().out


def test_provisioning_comes_from_what_it_wrote(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "(2026-11-26): 63.20 s, 12 changes; a second time 11.00 s, 0 changes." in figure(root, "provision")
    second = root / PROVISION / "again.jsonl"
    whole = second.read_text(encoding="utf-8")
    second.write_text(whole.replace('"failed": 0', '"failed": 1'), encoding="utf-8")
    assert run(root, "--check") == 1
    assert f"{second} does not end with a provisioning that succeeded" in capsys.readouterr().out
    second.write_text(whole.replace('"seconds": 11', '"seconds": "11"'), encoding="utf-8")
    assert run(root, "--check") == 1
    assert f"{second} does not end with a provisioning that succeeded" in capsys.readouterr().out
    second.unlink()
    assert run(root, "--check") == 1
    assert f"{second} does not say how long" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("h100-bench", lambda record: record["supervisor"].update(converted="captures"), "assembled from other files"),
        ("cpu-offline", lambda record: record.update(status="failed"), "did not end well: failed"),
        ("cpu-offline", lambda record: record.update(schema=99), "cannot be read"),
        ("h100-bench", lambda record: record["nodes"][0]["packages"].update(vllm="0.1"), "differ in vLLM"),
        ("h100-bench", lambda record: record["model"].update(requested="m"), "differ in the model"),
        ("h100-bench-7b", lambda record: record["model"].update(synthetic=False), "differ in the weights"),
    ],
)
def test_a_run_that_does_not_belong_there_is_told(
    root: Path, name: str, change: Callable[[dict[str, Any]], object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(root / "runs" / name / rundir.RECORD, change)
    assert run(root, "--check") == 1
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "typed",
    [
        "5,000 tokens per second", "55 sec", "1.5 mins", "5min", "10 h", "20 percent", "90％", "8,343 token/秒",
        "**8,343** tok/s", "8,343  tok/s", "300 W", "1980 MHz", "700 TFLOPS", "200 µs", "a 12-second start",
    ],
)  # fmt: skip
def test_a_figure_typed_by_hand_is_seen_however_it_is_written(typed: str) -> None:
    assert [line for line, _ in blocks.by_hand(f"# A title\n\nIt takes {typed}.\n")] == [3]


def test_the_conditions_and_what_was_there_before_stand_beside_the_figures(root: Path) -> None:
    said = figure(root, "h100")
    assert f"{SMALL}: prompts of" in said
    assert f"{LARGE}: prompts of" in said
    start = cells(said)["start-up, cold"]
    events(root / "runs" / "h100-offline-7b", lambda rows: [r.update(before=5) for r in rows if "before" in r])
    assert cells(figure(root, "h100"))["start-up, cold"] == [
        start[0],
        f"{start[1]} (5 of 14 compiled files were there)",
    ]


def test_a_warm_run_does_not_pass_for_a_cold_one(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started(root / "runs" / "h100-offline-cold", "warm")
    assert run(root, "--check") == 1
    assert "the start of the golden run h100-offline-cold was not cold but warm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text + "It takes 63 s.\n", "'63 s' is typed by hand"),
        (lambda text: text + "用时 63 秒。\n", "'63 秒' is typed by hand"),
        (lambda text: text.replace("figures: cpu", "figures: gpu"), "nothing makes the figures gpu"),
        (lambda text: text.replace("figures: cpu", "figures: gpu"), "the figures cpu stand there 0 times"),
        (lambda text: text + text, "the figures h100 stand there 2 times"),
    ],
)
def test_what_was_made_by_no_one_is_told(
    root: Path, change: Callable[[str], str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "README.zh-CN.md"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert run(root, "--check") == 1
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("name", READMES)
def test_the_real_readmes_hold_each_figure_once_and_none_by_hand(name: str) -> None:
    assert list(blocks.problems((ROOT / name).read_text(encoding="utf-8"), list(FIGURES))) == []


def test_code_and_the_limits_of_doctor_are_no_measured_figures() -> None:
    assert list(blocks.by_hand("`63 s` and\n```sh\nsleep 63 s\n```\n6 GiB, 5 GiB\n")) == []
    assert list(blocks.by_hand("```\na\n```\n7 GiB, 15× and 86 %")) == [(4, "7 GiB"), (4, "15×"), (4, "86 %")]


def test_each_phase_has_words_in_both_languages() -> None:
    assert set(phases.CLOSES.values()) <= set(PHASES)
    assert len({*PHASES, *WORDS, *SENTENCES}) == len(PHASES) + len(WORDS) + len(SENTENCES)
