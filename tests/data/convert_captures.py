"""Assemble run directories, marked as converted, from H100 captures of vLLM 0.25.1.

``python -m tests.data.convert_captures CAPTURES_DIR`` writes ``tests/data/runs/h100-*-converted``. Phases and figures
are computed by the runner's own functions from the files, as on a host; what the captured files don't say is null or
absent.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.runner import ending, record, rundir, spec, workloads

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER, RATES = Path(__file__).with_name("runs"), Path(__file__).with_name("h100-rates")
BATCHES, SMI = "bench/batches.json", "machine/nvidia-smi.during.txt"
ORIGIN = (
    "captures/h100-vllm-0.25.1/{capture}.{{log,batches.json,nvidia-smi.txt}}, written by a script of its own on a "
    "rented H100; assembled by tests/data/convert_captures.py. Times are the log's own stamps, in whole seconds; they "
    "start at LLM(), for the import was not captured. {passes} Prompts, sampling arguments, "
    "outputs, requests, metrics and samples were not captured."
)


class Source(NamedTuple):
    """A capture and the run that it becomes: of batch ``size`` alone, or a benchmark of all sizes."""

    name: str
    capture: str
    passes: str
    size: int | None = None


SOURCES = (
    Source("h100-offline-opt-125m-converted", "offline-opt-125m", "The passes are those of batch 8.", 8),
    Source(
        "h100-bench-qwen2.5-7b-converted",
        "offline-qwen2.5-7b",
        "The first of each size's three passes stands as its warm-up. The ceilings were measured on another H100 of "
        "the same kind, and the model's size was counted there: tests/data/h100-rates.",
    ),
)
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
    """Write the run directories anew."""
    for made in SOURCES:
        _convert(made, captures, FOLDER / made.name)


def _convert(made: Source, captures: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    copies = [(BATCHES, captures / f"{made.capture}.batches.json"), (SMI, captures / f"{made.capture}.nvidia-smi.txt")]
    if made.size is None:
        copies.append((rundir.CEILINGS, RATES / "ceilings.json"))
    for name, origin in copies:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin, target / name)
        (target / name).chmod(0o644)
    rows = stamped((captures / f"{made.capture}.log").read_text(encoding="utf-8"))
    write_log(target, rows)
    batches = json.loads((target / BATCHES).read_text(encoding="utf-8"))
    events = "".join(json.dumps(event) + "\n" for event in _events(made, rows, batches))
    (target / rundir.EVENTS).write_text(events, encoding="utf-8")
    asked = _spec(made, batches)
    (target / rundir.SPEC).write_text(asked.to_json(), encoding="utf-8")
    origin = ORIGIN.format(capture=made.capture, passes=made.passes)
    happened = record.RunRecord(
        run_id=made.name, status="ok", spec_sha256=asked.sha256(), anchor={"utc": None, "monotonic": None},
        ended_s=round(rows[-1][0], 3), supervisor={"converted": origin}, nodes=[_node(target)],
        model={"requested": batches["model"], "used": batches["model"], "synthetic": True, "weights": "dummy"},
        engine={"requested": asked.engine, "adjusted": []},
    )  # fmt: skip
    ending.complete(target, happened)


def _spec(made: Source, batches: dict[str, Any]) -> spec.RunSpec:
    work: workloads.Workload
    if made.size is None:
        sizes = tuple(sorted({run["bs"] for run in batches["runs"]}))
        work = workloads.Batches(prompt="(not captured)", sizes=sizes, warmup=1, repeats=2, tutorial=False)
    else:
        work = workloads.Prompts(prompts=("(not captured)",), warmup=1, repeats=2)
    engine = {**batches["kw"], "load_format": "dummy", "disable_log_stats": True}  # the log's non-default args
    return spec.RunSpec(
        lab=made.name.split("-")[1], model=batches["model"], workload=work, engine=engine, vllm="0.25.1",
        env={"VLLM_USE_FLASHINFER_SAMPLER": "0"},
    )  # fmt: skip


def _events(made: Source, rows: list[tuple[float, str]], batches: dict[str, Any]) -> list[dict[str, Any]]:
    ready = next(t for t, line in rows if "init engine (profile" in line)
    found: list[dict[str, Any]] = [
        {"t": 0.0, "event": "start"},
        {"t": 0.0, "event": "begin", "phase": "engine"},
        {"t": ready, "event": "end", "phase": "engine"},
    ]
    if made.size is None:
        shape = json.loads((RATES / "model-shape-qwen2.5-7b.json").read_text(encoding="utf-8"))
        found.append({"t": ready, "event": "model_shape", **shape})
    found += _passes(made, rows, batches["runs"], ready)
    stop = next(t for t, line in rows if "trigger received signal" in line)
    found.append({"t": stop, "event": "begin", "phase": "shutdown"})
    found.append({"t": rows[-1][0], "event": "end", "phase": "shutdown"})
    return [{**event, "t": round(event["t"], 3)} for event in found]


def _passes(
    made: Source, rows: list[tuple[float, str]], runs: list[dict[str, Any]], ready: float
) -> Iterator[dict[str, Any]]:
    """Begin and end of each pass: it began where the log says that the one before had ended."""
    ended = {(int(hit[1]), int(hit[2])): t for t, line in rows if (hit := RESULT.search(line))}
    begin = ready
    for number, run in enumerate(runs):
        end = ended[run["bs"], run["rep"]]
        if made.size in {None, run["bs"]}:
            phase = "generate" if run["rep"] else "warmup"
            place = {"number": run["rep"]} if made.size else {"size": run["bs"], "number": number}
            told = {**place, "seconds": run["s"], "output_tokens": run["tokens"]}
            yield {"t": begin, "event": "begin", "phase": phase, **place}
            yield {"t": end, "event": "end", "phase": phase, **told}
        begin = end


def _node(target: Path) -> dict[str, Any]:
    table = (target / SMI).read_text(encoding="utf-8")
    name, _, total = (part.strip() for part in table.strip().splitlines()[-1].split(",")[1:4])
    driver = re.search(r"Driver Version: (\S+) +CUDA Version: (\S+)", table)
    assert driver
    machine = {"gpus": [{"name": name, "memory_total": total}], "driver": driver[1], "cuda": driver[2]}
    return {"name": "h100", "machine": machine, "packages": {"vllm": "0.25.1"}, "samples": None}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
