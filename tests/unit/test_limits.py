"""How far a throughput is from its machine's limit, held against figures that were worked out by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from labctl.runner import figures, rundir
from labctl.runner.figures import roofline

DATA = Path(__file__).parents[1] / "data"
H100 = DATA / "runs" / "h100-bench-qwen2.5-7b-converted"
SHAPE: dict[str, Any] = json.loads((DATA / "h100-rates" / "model-shape-qwen2.5-7b.json").read_text())


def test_an_h100_at_batch_1_reaches_74_per_cent_of_what_its_copy_rate_allows() -> None:
    # The reference: 158 tok/s, Qwen2.5-7B in bf16, 3.03 TB/s; 256 tokens after a short prompt.
    need = roofline.step_bytes(roofline.model(SHAPE, {}), 1, roofline.mean_context(10, 256))
    assert need is not None
    assert need == pytest.approx((7_615_616_512 - 544_997_376) * 2 + 137.5 * 57_344)
    assert 100 * 158 * need / 3.03e12 == pytest.approx(74, abs=0.3)


def test_the_flop_of_a_token_are_two_a_parameter_and_the_attentions() -> None:
    need = roofline.step_flop(roofline.model(SHAPE, {}), 256, 1000)
    assert need == pytest.approx(256 * (2 * 7_070_619_136 + 4 * 28 * 28 * 128 * 1000))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The benchmark of a real H100."""
    folder = tmp_path / "run"
    shutil.copytree(H100, folder)
    return folder


def change(run: Path, event: str, **told: Any) -> dict[str, dict[str, Any]]:
    """The figures after an event told something else, or something at all."""
    rows = [json.loads(line) for line in (run / rundir.EVENTS).read_text().splitlines()]
    here = [row for row in rows if row["event"] == event]
    if not here:
        rows.insert(3, {"t": 74.0, "event": event})
        here = rows[3:4]
    here[0].update(told)
    (run / rundir.EVENTS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return figures.compute(run)


def test_a_real_h100(run: Path) -> None:
    found = figures.compute(run)
    assert found["ceiling_bandwidth"]["value"] == 3010.176
    assert found["ceiling_matmul"]["value"] == 776.737
    assert found["model_params"]["value"] == 7_615_616_512
    assert found["bandwidth_utilisation_b1"]["high"] == pytest.approx(74.2, abs=0.1)
    assert found["flop_utilisation_b256"]["value"] == pytest.approx(41.8, abs=0.1)
    assert found["limit_b1"]["value"] == pytest.approx(212.8, abs=0.1)
    assert found["limit_b1"]["note"] == "bound by the memory"
    share = 100 * found["throughput_b1"]["value"] / found["limit_b1"]["value"]
    assert share == pytest.approx(found["bandwidth_utilisation_b1"]["value"], abs=0.01)
    assert rundir.CEILINGS in found["bandwidth_utilisation_b1"]["sources"]


def test_two_devices_share_the_weights(run: Path) -> None:
    alone = figures.compute(run)["bandwidth_utilisation_b1"]["value"]
    found = change(run, "resolved", tensor_parallel_size=2)
    assert found["bandwidth_utilisation_b1"]["value"] == pytest.approx(alone / 2, abs=0.01)


def test_the_matrix_rate_of_the_other_16_bits_counts_on_a_gpu_and_is_named(run: Path) -> None:
    alone = figures.compute(run)["flop_utilisation_b256"]["value"]
    found = change(run, "resolved", dtype="float16")["flop_utilisation_b256"]
    assert found["value"] == alone
    assert "measured in bfloat16, the engine multiplies in float16" in found["note"]


@pytest.mark.parametrize(("kind", "dtype"), [("cuda", "float32"), ("cpu", "float16")])
def test_the_matrix_rate_of_another_number_type_is_no_ceiling(run: Path, kind: str, dtype: str) -> None:
    held = json.loads((run / rundir.CEILINGS).read_text())
    (run / rundir.CEILINGS).write_text(json.dumps({**held, "kind": kind}))
    found = change(run, "resolved", dtype=dtype)
    for name in ("flop_utilisation_b256", "limit_b256"):
        assert found[name]["value"] is None, name
        assert f"the engine multiplies in {dtype}" in found[name]["note"], name
    assert found["bandwidth_utilisation_b256"]["value"] is not None


def test_the_ranks_on_one_cpu_share_it_and_hosts_do_not(run: Path) -> None:
    held = json.loads((run / rundir.CEILINGS).read_text())
    (run / rundir.CEILINGS).write_text(json.dumps({**held, "kind": "cpu"}))
    alone = figures.compute(run)["bandwidth_utilisation_b1"]["value"]
    assert change(run, "resolved", tensor_parallel_size=2)["bandwidth_utilisation_b1"]["value"] == alone
    asked = json.loads((run / rundir.SPEC).read_text())
    (run / rundir.SPEC).write_text(json.dumps({**asked, "span": {"hosts": ["gpu1", "gpu2"]}}))
    assert figures.compute(run)["bandwidth_utilisation_b1"]["value"] == pytest.approx(alone / 2, abs=0.01)


def test_a_batch_beyond_max_num_seqs_runs_in_waves(run: Path) -> None:
    whole = figures.compute(run)
    found = change(run, "resolved", max_num_seqs=64)
    # Four batches of 64 read the weights four times, and each sequence's cache once all the same.
    weights, cached = 14.141e9, 256 * 127.5 * 57_344
    more = (4 * weights + cached) / (weights + cached)
    ratio = found["bandwidth_utilisation_b256"]["value"] / whole["bandwidth_utilisation_b256"]["value"]
    assert ratio == pytest.approx(more, rel=0.001)
    assert found["flop_utilisation_b256"]["value"] == whole["flop_utilisation_b256"]["value"]
    assert found["limit_b256"]["value"] == pytest.approx(whole["limit_b64"]["value"], rel=0.001)


def test_a_cache_of_8_bits_is_read_in_half_the_bytes() -> None:
    found = [roofline.model(SHAPE, {"kv_cache_dtype": kind}).kv for kind in ("auto", "fp8_e4m3", "bfloat16", "nvfp4")]
    assert found == [57_344, 28_672, 57_344, None]


def test_the_engines_own_dtype_counts() -> None:
    assert roofline.model(SHAPE, {"dtype": "float32"}).weights == 2 * SHAPE["step_bytes"]


def test_attention_looks_back_no_further_than_its_window() -> None:
    near = roofline.model({**SHAPE, "sliding_window": 100}, {})
    assert roofline.step_bytes(near, 1, 4000) == roofline.step_bytes(near, 1, 100)


QUANTIZED = "quantized ({}): the matrix rate was measured for bfloat16"


@pytest.mark.parametrize(
    ("event", "told", "bandwidth", "flop"),
    [
        ("model_shape", {"experts": 8, "note": "a mixture of 8"}, "a mixture of 8", "a mixture of 8"),
        ("model_shape", {"quantization": "awq", "step_bytes": 4_000_000_000}, None, QUANTIZED.format("awq")),
        (
            "model_shape",
            {"quantization": "fp8", "step_bytes": None, "note": "quantized when it is loaded"},
            "quantized when it is loaded",
            QUANTIZED.format("fp8"),
        ),
        ("resolved", {"quantization": "fp8"}, "quantized (fp8) by the engine", QUANTIZED.format("fp8")),
        ("model_shape", {"params": None, "error": "KeyError: opt5"}, "KeyError: opt5", "KeyError: opt5"),
        ("model_shape", {"kv_values_per_token": None}, "what a token takes in the cache is not known", None),
        ("resolved", {"speculative": True}, "speculative decoding", "speculative decoding"),
        ("resolved", {"data_parallel_size": 2}, "data parallel", "data parallel"),
        ("resolved", {"pipeline_parallel_size": 2}, "stages of a pipeline", "stages of a pipeline"),
    ],
)
def test_what_is_not_known_is_said_and_not_guessed(
    run: Path, event: str, told: dict[str, Any], bandwidth: str | None, flop: str | None
) -> None:
    found = change(run, event, **told)
    for name, said in (("bandwidth", bandwidth), ("flop", flop)):
        figure = found[f"{name}_utilisation_b8"]
        assert (figure["value"] is None) == (said is not None), name
        assert (said or "a step") in figure["note"]
    assert found["limit_b8"]["value"] is None
    assert found["throughput_b8"]["value"] is not None


def test_quantized_weights_count_as_the_bytes_on_disk(run: Path) -> None:
    whole = figures.compute(run)["bandwidth_utilisation_b1"]["value"]
    found = change(run, "model_shape", quantization="awq", step_bytes=4_000_000_000)
    assert found["bandwidth_utilisation_b1"]["value"] == pytest.approx(whole * 4.0073 / 14.1486, rel=0.001)


def test_a_machine_that_could_not_be_measured(run: Path) -> None:
    (run / rundir.CEILINGS).unlink()
    found = change(run, "end", phase="ceilings", error="CalledProcessError: it died")
    assert found["ceiling_bandwidth"]["value"] is None
    assert "it died" in found["ceiling_bandwidth"]["note"]
    assert "not measured" in found["bandwidth_utilisation_b8"]["note"]


def test_a_run_that_measured_no_ceilings_says_nothing_of_limits() -> None:
    found = figures.compute(DATA / "runs" / "cpu-offline")
    assert not [name for name in found if name.startswith(("ceiling", "limit", "bandwidth", "flop", "model_params"))]


@pytest.mark.parametrize(
    "text",
    [
        "[]", "{", '{"bandwidth": 3}', '{"bandwidth": {"bytes_per_s": ["fast", true, -1, null, 0]}}',
        '{"bandwidth": {"bytes_per_s": [Infinity, NaN]}, "matmul": []}', '{"bandwidth": {"bytes_per_s": 7}}',
    ],
)  # fmt: skip
def test_hostile_ceilings_give_unknowns(run: Path, text: str) -> None:
    (run / rundir.CEILINGS).write_text(text)
    found = figures.compute(run)
    assert found["limit_b8"]["value"] is None
    assert all(figure["value"] is None for name, figure in found.items() if name.startswith("bandwidth"))


def test_an_earlier_runs_ceilings_are_named_as_such(run: Path) -> None:
    held = json.loads((run / rundir.CEILINGS).read_text())
    (run / rundir.CEILINGS).write_text(json.dumps({**held, "reused": True}))
    note = figures.compute(run)["ceiling_bandwidth"]["note"]
    assert "measured 2026-11-23T03:11 by an earlier run" in note
