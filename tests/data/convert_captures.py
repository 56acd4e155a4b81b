"""Assemble a run directory, marked as converted, from an H100 capture of vLLM 0.25.1.

``python -m tests.data.convert_captures CAPTURES_DIR`` writes ``tests/data/runs/h100-offline-opt-125m-converted``.
Phases and figures are computed by the runner's own functions from the files, as on a host; what the captured files
don't say is null or absent.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from labctl.runner import ending, record, rundir, spec, workloads

NAME = "h100-offline-opt-125m-converted"
TARGET = Path(__file__).with_name("runs") / NAME
BATCHES, SMI = "bench/batches.json", "machine/nvidia-smi.during.txt"
ORIGIN = (
    "captures/h100-vllm-0.25.1/offline-opt-125m.{log,batches.json,nvidia-smi.txt}, written by a script of its own on a "
    "rented H100; assembled by tests/data/convert_captures.py. Times are the log's own stamps, in whole seconds; they "
    "start at LLM(), for the import was not captured. The passes are those of batch 8. Prompts, sampling arguments, "
    "outputs, requests, metrics and samples were not captured."
)
SHOWN_BATCH = 8
STAMP = re.compile(r"\b\d\d-\d\d (\d\d):(\d\d):(\d\d)\b")
RESULT = re.compile(r"RESULT (\d+) (\d+) ")


def stamped(text: str) -> list[tuple[float, str]]:
    """(seconds since the first stamp, line); a line without a stamp stands one millisecond after the one before."""
    rows: list[tuple[float, str]] = []
    start, t = None, 0.0
    for line in text.replace("\r", "\n").splitlines():
        t += 0.001
        found = STAMP.search(line)
        if found:
            clock = sum(int(part) * size for part, size in zip(found.groups(), (3600, 60, 1), strict=True))
            start = clock if start is None else start
            t = max(t, float(clock - start))
        rows.append((t, line))
    return rows


def write_log(run_dir: Path, rows: list[tuple[float, str]]) -> None:
    """Write logs/engine.log as the supervisor would have."""
    (run_dir / "logs").mkdir(parents=True, exist_ok=True)
    text = "".join(f"{t:10.3f} {line}\n" for t, line in rows)
    (run_dir / rundir.ENGINE_LOG).write_text(text, encoding="utf-8")


def main(captures: Path) -> None:
    """Write the run directory anew."""
    shutil.rmtree(TARGET, ignore_errors=True)
    for name, kind in ((BATCHES, "batches.json"), (SMI, "nvidia-smi.txt")):
        (TARGET / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(captures / f"offline-opt-125m.{kind}", TARGET / name)
        (TARGET / name).chmod(0o644)
    rows = stamped((captures / "offline-opt-125m.log").read_text(encoding="utf-8"))
    write_log(TARGET, rows)
    batches = json.loads((TARGET / BATCHES).read_text(encoding="utf-8"))
    events = "".join(json.dumps(event) + "\n" for event in _events(rows, batches))
    (TARGET / rundir.EVENTS).write_text(events, encoding="utf-8")
    asked = _spec(batches)
    (TARGET / rundir.SPEC).write_text(asked.to_json(), encoding="utf-8")
    happened = record.RunRecord(
        run_id=NAME, status="ok", spec_sha256=asked.sha256(), anchor={"utc": None, "monotonic": None},
        ended_s=round(rows[-1][0], 3), supervisor={"converted": ORIGIN}, nodes=[_node()],
        model={"requested": batches["model"], "used": batches["model"], "synthetic": True, "weights": "dummy"},
        engine={"requested": asked.engine, "adjusted": []},
    )  # fmt: skip
    ending.complete(TARGET, happened)


def _spec(batches: dict[str, Any]) -> spec.RunSpec:
    work = workloads.Prompts(prompts=("(not captured)",), warmup=1, repeats=2)
    engine = {**batches["kw"], "load_format": "dummy", "disable_log_stats": True}  # the log's non-default args
    return spec.RunSpec(
        lab="offline", model=batches["model"], workload=work, engine=engine, vllm="0.25.1",
        env={"VLLM_USE_FLASHINFER_SAMPLER": "0"},
    )  # fmt: skip


def _events(rows: list[tuple[float, str]], batches: dict[str, Any]) -> list[dict[str, Any]]:
    ready = next(t for t, line in rows if "init engine (profile" in line)
    ended = {(int(hit[1]), int(hit[2])): t for t, line in rows if (hit := RESULT.search(line))}
    found: list[dict[str, Any]] = [
        {"t": 0.0, "event": "start"},
        {"t": 0.0, "event": "begin", "phase": "engine"},
        {"t": ready, "event": "end", "phase": "engine"},
    ]
    begin = ended[4, 2]  # the pass before the shown ones
    for run in (run for run in batches["runs"] if run["bs"] == SHOWN_BATCH):
        phase, number, end = "generate" if run["rep"] else "warmup", run["rep"], ended[SHOWN_BATCH, run["rep"]]
        found.append({"t": begin, "event": "begin", "phase": phase, "number": number})
        told = {"number": number, "seconds": run["s"], "output_tokens": run["tokens"]}
        found.append({"t": end, "event": "end", "phase": phase, **told})
        begin = end
    stop = next(t for t, line in rows if "trigger received signal" in line)
    found.append({"t": stop, "event": "begin", "phase": "shutdown"})
    found.append({"t": rows[-1][0], "event": "end", "phase": "shutdown"})
    return [{**event, "t": round(event["t"], 3)} for event in found]


def _node() -> dict[str, Any]:
    table = (TARGET / SMI).read_text(encoding="utf-8")
    name, _, total = (part.strip() for part in table.strip().splitlines()[-1].split(",")[1:4])
    driver = re.search(r"Driver Version: (\S+) +CUDA Version: (\S+)", table)
    assert driver
    machine = {"gpus": [{"name": name, "memory_total": total}], "driver": driver[1], "cuda": driver[2]}
    return {"name": "h100", "machine": machine, "packages": {"vllm": "0.25.1"}, "samples": None}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
