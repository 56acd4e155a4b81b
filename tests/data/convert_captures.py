"""Assemble a run directory, marked as converted, from the H100 captures of vLLM 0.25.1.

``python tests/data/convert_captures.py CAPTURES_DIR`` (needs labctl importable) writes
``tests/data/runs/h100-offline-opt-125m-converted``. It says only what the captured files say; what they
don't is null or absent. Times come from the log's stamps, which have whole seconds and name no time zone.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from labctl.runner import record, rundir, spec

NAME = "h100-offline-opt-125m-converted"
TARGET = Path(__file__).with_name("runs") / NAME
LOG, BATCHES, SMI = rundir.ENGINE_LOG, "bench/batches.json", "machine/nvidia-smi.during.txt"
ORIGIN = (
    "captures/h100-vllm-0.25.1/offline-opt-125m.{log,batches.json,nvidia-smi.txt}, written by a script of "
    "its own on a rented H100, log times 2026-11-22 14:44:39 to 14:45:37 (no time zone given); assembled by "
    "tests/data/convert_captures.py. Phases have the log's resolution of one second. Prompts, sampling "
    "arguments, outputs, requests and samples were not captured."
)
SHOWN_BATCH = 8  # the one of six shapes that stands as the run's throughput
# Phase, the log text that starts it, and the text with the seconds that the engine itself reported.
PHASES = (
    ("config", "non-default args", None),
    ("init", "Initializing a V1 LLM engine", None),
    ("weights", "Loading model from scratch", r"Model loading took .* and ([\d.]+) seconds"),
    ("compile", "Model loading took", r"torch\.compile took ([\d.]+) s"),
    ("profiling", "torch.compile took", r"profiling/warmup run took ([\d.]+) s"),
    ("kv_cache", "GPU KV cache size", None),
    ("graph_capture", "cutedsl_warmup.py", r"Graph capturing finished in ([\d.]+) secs"),
    ("engine_warmup", "Graph capturing finished", None),
    ("ready", "init engine (profile", None),
    ("generate", "init engine (profile", None),
    ("shutdown", "trigger received signal", None),
    ("", "MPClient: complete", None),
)


def main(captures: Path) -> None:
    """Write the run directory anew."""
    shutil.rmtree(TARGET, ignore_errors=True)
    for name, kind in ((LOG, "log"), (BATCHES, "batches.json"), (SMI, "nvidia-smi.txt")):
        (TARGET / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(captures / f"offline-opt-125m.{kind}", TARGET / name)
        (TARGET / name).chmod(0o644)
    lines = (TARGET / LOG).read_text(encoding="utf-8").split("\n")
    batches = json.loads((TARGET / BATCHES).read_text(encoding="utf-8"))
    asked = _spec(batches)
    (TARGET / rundir.SPEC).write_text(asked.to_json(), encoding="utf-8")
    phases = _phases(lines)
    happened = record.RunRecord(
        run_id=NAME, status="ok", spec_sha256=asked.sha256(), anchor={"utc": None, "monotonic": None},
        ended_s=phases[-1]["start"] + phases[-1]["seconds"], supervisor={"converted": ORIGIN},
        model={"requested": batches["model"], "used": batches["model"], "synthetic": True,
               "weights": "random (load_format=dummy)", "why": None},
        engine={"requested": asked.engine, "adjusted": []}, phases=phases, nodes=[_node(lines)],
        metrics={**_log_figures(lines), **_throughputs(batches)}, artifacts=rundir.artifacts(TARGET),
    )  # fmt: skip
    happened.write(TARGET)
    rundir.seal(TARGET)


def _spec(batches: dict[str, Any]) -> spec.RunSpec:
    work = spec.Workload(prompts=("(not captured)",), warmup=1, repeats=2)
    engine = {
        **batches["kw"],
        "load_format": "dummy",
        "disable_log_stats": True,
    }  # the log's non-default args
    return spec.RunSpec(
        lab="offline", model=batches["model"], workload=work, engine=engine, seed=0, vllm="0.25.1",
        env={"VLLM_USE_FLASHINFER_SAMPLER": "0"},
    )  # fmt: skip


def _phases(lines: list[str]) -> list[dict[str, Any]]:
    places = [_find(lines, re.escape(text)) for _, text, _ in PHASES]
    starts = [_clock(lines[place]) for place in places]
    return [
        {
            "name": name,
            "start": float(starts[at] - starts[0]),
            "seconds": 0.0 if name == "ready" else float(starts[at + 1] - starts[at]),
            "source": f"{LOG}:{places[at] + 1}",
            "reported_s": _said(lines, pattern)[0] if pattern else None,
        }
        for at, (name, _, pattern) in enumerate(PHASES[:-1])
    ]


def _log_figures(lines: list[str]) -> dict[str, dict[str, Any]]:
    said = {
        "engine_init": ("s", r"init engine .* took ([\d.]+) s", "what the engine itself reported"),
        "model_load_seconds": ("s", r"Model loading took .* and ([\d.]+) seconds", None),
        "model_load_gib": ("GiB", r"Model loading took ([\d.]+) GiB", None),
        "kv_tokens": ("tokens", r"GPU KV cache size: ([\d,]+) tokens", None),
        "kv_max_concurrency": ("requests", r"per request: ([\d.]+)x", "requests of 2,048 tokens"),
        "compile_seconds": ("s", r"torch\.compile took ([\d.]+) s", None),
    }
    found = {}
    for name, (unit, pattern, note) in said.items():
        value, place = _said(lines, pattern)
        found[name] = _figure(int(value) if unit == "tokens" else value, unit, [f"{LOG}:{place + 1}"], note=note)
    saved = _find(lines, "saved AOT compiled function") + 1
    found["compile_cache"] = _figure("cold", "", [f"{LOG}:{saved}"], note="a graph was compiled and saved")
    for name, unit in (("kv_blocks", ""), ("kv_block_size", "tokens")):
        found[name] = _figure(None, unit, [], note="not in the captured files")
    found["peak_gpu_memory"] = _figure(None, "bytes", [f"{SMI}:10"], note="one reading only, no peak")
    jit = _find(lines, "JIT compilation during inference") + 1
    found["tainted_passes"] = _figure(1, "", [f"{LOG}:{jit}"], note="the JIT monitor warned once")
    return found


def _throughputs(batches: dict[str, Any]) -> dict[str, dict[str, Any]]:
    start = batches["startup_s"]
    found = {"startup": _figure(start, "s", [BATCHES], note="LLM() alone: the import was not captured")}
    for batch in dict.fromkeys(run["bs"] for run in batches["runs"]):
        first, *rest = (run["tps"] for run in batches["runs"] if run["bs"] == batch)
        shown = batch == SHOWN_BATCH
        note = f"batch {batch}, median of the passes after the first" + (", one of six sizes" if shown else "")
        names = ("throughput", "first_pass_throughput")
        name, first_name = names if shown else (f"{word}_batch_{batch}" for word in names)
        found[name] = _figure(
            statistics.median(rest), "tok/s", [BATCHES], low=min(rest), high=max(rest), n=len(rest), note=note
        )
        found[first_name] = _figure(first, "tok/s", [BATCHES], n=1, note="not counted in")
    return found


def _node(lines: list[str]) -> dict[str, Any]:
    table = (TARGET / SMI).read_text(encoding="utf-8")
    name, _, total = (part.strip() for part in table.strip().splitlines()[-1].split(",")[1:4])
    driver = re.search(r"Driver Version: (\S+) +CUDA Version: (\S+)", table)
    engine = re.search(r"V1 LLM engine \(v([\d.]+)\)", "\n".join(lines))
    assert driver
    assert engine
    machine = {"gpus": [{"name": name, "memory_total": total}], "driver": driver[1], "cuda": driver[2]}
    return {"name": "h100", "machine": machine, "packages": {"vllm": engine[1]}, "samples": None}


def _find(lines: list[str], pattern: str) -> int:
    return next(place for place, line in enumerate(lines) if re.search(pattern, line))


def _said(lines: list[str], pattern: str) -> tuple[float, int]:
    place = _find(lines, pattern)
    hit = re.search(pattern, lines[place])
    assert hit
    return float(hit[1].replace(",", "")), place


def _clock(line: str) -> int:
    hit = re.search(r"\d\d-\d\d (\d\d):(\d\d):(\d\d)", line)
    assert hit
    return int(hit[1]) * 3600 + int(hit[2]) * 60 + int(hit[3])


def _figure(value: object, unit: str, sources: list[str], **more: object) -> dict[str, Any]:
    empty = {"low": None, "high": None, "n": None, "note": None}
    return {"value": value, "unit": unit, **empty, **more, "sources": sources}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
