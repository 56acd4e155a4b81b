"""Small runs of each kind, in the formats that the runner writes; figures and phases by its own functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.runner import figures, phases, record, rundir, spec

if TYPE_CHECKING:
    from collections.abc import Sequence

ENGINE: list[dict[str, Any]] = [
    {"t": 0.1, "event": "start"},
    {"t": 0.2, "event": "begin", "phase": "engine"},
    {"t": 21.5, "event": "end", "phase": "engine"},
]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def make(folder: Path, workload: dict[str, Any], files: dict[str, str | bytes], **told: Any) -> Path:
    """A sealed run; ``files`` by their path; ``told``: further fields of the record, ``spec``: of the spec."""
    asked = spec.from_dict({"lab": "made", "model": "facebook/opt-125m", "workload": workload, **told.pop("spec", {})})
    for name, held in {rundir.SPEC: asked.to_json(), rundir.EVENTS: lines(ENGINE), **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(held if isinstance(held, bytes) else held.encode())
    anchor = {"utc": "2026-11-23T03:00:00+00:00", "monotonic": 5.0}
    happened = record.RunRecord(
        run_id=folder.name, status=told.pop("status", "ok"), spec_sha256=asked.sha256(), anchor=anchor, ended_s=60.0
    )
    happened.metrics = figures.compute(folder) | told.pop("metrics", {})
    happened.phases = phases.timeline(folder)
    for name, value in told.items():
        setattr(happened, name, value)
    happened.artifacts = rundir.artifacts(folder)
    happened.write(folder)
    rundir.seal(folder)
    return folder


def wire(start: str, body: str, kind: str = "application/json") -> bytes:
    return f"{start}\r\ncontent-type: {kind}\r\n\r\n{body}".encode()


def answered(number: int, name: str, **told: Any) -> dict[str, Any]:
    """A row of api/calls.jsonl."""
    row = {"call": number, "name": name, "by": "http", "api": "completion", "stream": False, "status": 200,
           "seconds": 0.51, "ttft_s": None, "prompt_tokens": 5, "output_tokens": 50, "text": " a very long street",
           "error": None, "chat_template": "", "file": f"api/{number:02d}-{name}"}  # fmt: skip
    return {**row, **told}


NO_TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template if the "
    "tokenizer does not define one."
)
CALLS = [
    answered(1, "completion"),
    answered(2, "chat", api="chat", status=400, error=NO_TEMPLATE, text=None, output_tokens=None, seconds=0.02),
    answered(3, "chat", api="chat", text="PagedAttention is <b>", chat_template="labctl/plain.jinja", seconds=1.2),
    answered(4, "hello", api="chat", by="openai", stream=True, ttft_s=0.044, text="你好 hello", chat_template="x"),
]


ASKED = {"kind": "requests", "requests": [{"api": "completion", "text": "San Francisco is a"}]}
SERVER = {
    "t": 21.6, "event": "server", "address": "127.0.0.1", "port": 8000, "model": "facebook/opt-125m", "pid": 77,
    "version": "0.32.0", "command": "vllm serve models/opt-125m --port=8000", "chat_template": "model", "dev": False,
}  # fmt: skip


def server(folder: Path, *, events: Sequence[dict[str, Any]] = (), **told: Any) -> Path:
    """Four calls, of which one was refused; ``events``: further ones."""
    files: dict[str, str | bytes] = {
        "api/calls.jsonl": lines(CALLS),
        "events.jsonl": lines([*ENGINE, SERVER, *events]),
    }
    for row in CALLS:
        post = "POST /v1/completions HTTP/1.1\r\nauthorization: Bearer ***"
        files[f"{row['file']}.request.http"] = wire(post, '{"prompt":"San Francisco is a","max_tokens":50}')
        kind = "text/event-stream" if row["stream"] else "application/json"
        body = (
            "".join(f'data: {{"n":{n}}}\n\n' for n in range(30)) if row["stream"] else json.dumps({"is": row["text"]})
        )
        files[f"{row['file']}.response.http"] = wire(f"HTTP/1.1 {row['status']} OK", body, kind)
    return make(folder, ASKED, files, **told)


def hold(folder: Path, **told: Any) -> Path:
    """A kept and exposed server that died once."""
    open_routes = {"tested": 40, "open": [{"path": "/health", "status": 200}], "error": None}
    why = "vllm serve ended with exit status -9 while it was up"
    exposed = {**SERVER, "address": "10.0.0.5"}
    rows = [
        *ENGINE, {"t": 0.1, "event": "hold", "keyed": True, "restarts": 3}, exposed,
        {"t": 22.0, "event": "begin", "phase": "up"}, {"t": 23.0, "event": "open_routes", **open_routes},
        {"t": 40.0, "event": "end", "phase": "up", "died": True},
        {"t": 40.1, "event": "restart", "number": 1, "of": 3, "reason": why}, {**exposed, "t": 60.0, "pid": 78},
    ]  # fmt: skip
    asked = {"address": "10.0.0.5", "restarts": 3}
    more = {"spec": {"server": asked}, **told}
    return make(folder, {"kind": "hold"}, {"events.jsonl": lines(rows)}, **more)


DATA = Path(__file__).parents[2] / "data"
CAPTURES = DATA / "h100-vllm-0.25.1"
BATCHES = DATA / "runs" / "h100-bench-qwen2.5-7b-converted" / "bench" / "batches.json"
CEILINGS = {
    "device": "NVIDIA H100 80GB HBM3", "kind": "cuda", "threads": None, "torch": "2.11.0+cu130",
    "measured_utc": "2026-11-22T14:00:00+00:00", "reused": True, "key": "k",
    "bandwidth": {"bytes_per_s": [3.03e12, 3.01e12, 3.02e12], "how": "cuda copy of 1024 MiB, bytes read and written"},
    "matmul": {"flop_per_s": [6.1e14, 6.3e14, 6.2e14], "dtype": "bfloat16", "n": 8192, "how": "product"},
}  # fmt: skip
QWEN = {
    "params": 7615616512, "embedding_params": 544997376, "tied": False, "lookup_params": 544997376,
    "dtype": "bfloat16", "layers": 28, "hidden": 3584, "heads": 28, "kv_heads": 4, "head_dim": 128,
    "kv_values_per_token": 28672, "sliding_window": None, "experts": None, "quantization": None,
    "weight_bytes": 15231233024, "step_bytes": 14141238272, "kv_bytes_per_token": 57344, "note": "",
}  # fmt: skip


def batches(folder: Path, **told: Any) -> Path:
    """The passes captured on an H100: the first of each size stands for the tutorial's loop."""
    captured = json.loads(BATCHES.read_text())["runs"]
    rows = [*ENGINE, {"t": 21.6, "event": "model_shape", **QWEN}]
    t = 22.0
    for number, one in enumerate(captured):
        phase = "generate" if one["rep"] else "tutorial"
        about = {"phase": phase, "size": one["bs"], "number": number}
        rows.append({"t": t, "event": "begin", **about})
        counted = {"seconds": one["s"], "output_tokens": one["tokens"], "prompt_tokens": 4 * one["bs"]}
        t = round(t + one["s"], 3)
        rows.append({"t": t, "event": "end", **about, **counted, "cached_tokens": 0, "prefix_cache_reset": True})
    sizes = sorted({one["bs"] for one in captured})
    files: dict[str, str | bytes] = {"events.jsonl": lines(rows), "bench/ceilings.json": json.dumps(CEILINGS)}
    synthetic = {"requested": "Qwen/Qwen2.5-7B", "used": "models/qwen2.5-7b", "synthetic": True, "weights": "dummy"}
    return make(folder, {"kind": "batches", "sizes": sizes}, files, **{"model": synthetic, **told})


def serve_bench(folder: Path, server: str = "", **told: Any) -> Path:
    """What vLLM's own client wrote on an H100, by concurrency; ``server``: one that another run keeps up."""
    files: dict[str, str | bytes] = {}
    rows, t = [*ENGINE], 22.0
    loads = (1, 8, 32, 128)
    for number, many in enumerate(loads, 1):
        held = (CAPTURES / f"bench-serve-qwen2.5-7b-concurrency-{many}.json").read_bytes()
        files[f"bench/serve-{number:02d}.json"] = held
        about = {"phase": "point", "number": number, "concurrency": many, "seed": number}
        rows += [{"t": t, "event": "begin", **about}, {"t": t + 10, "event": "end", **about}]
        t += 10
    asked = {"kind": "serve_bench", "concurrencies": list(loads), "goodput": {"ttft": 200}, "server": server}
    return make(folder, asked, {"events.jsonl": lines(rows), **files}, **told)


def batching(folder: Path, **told: Any) -> Path:
    """A load of ten requests in three ways, as their files would tell it."""
    rows, lives, series, zero = [*ENGINE], [], [], 22.0
    for way, slot in (("continuous", 0.0), ("static", 0.5), ("alone", 1.0)):
        rows.append({"t": zero, "event": "begin", "phase": way, "requests": 10})
        for number in range(10):
            planned = number * 0.4
            sent = (
                planned if way == "continuous" else max(planned, (number // 5 + 1) * 3 if way == "static" else number)
            )
            first, done = sent + 0.1 + slot / 10, sent + 1.0 + number * 0.1
            life = {"sent_s": sent, "first_s": first, "done_s": done, "prompt_tokens": 9, "output_tokens": 10 + number}
            lives.append({"way": way, "request": number, "planned_s": planned, **life, "status": 200, "error": None})
        for tick in range(40):
            count = {"running": tick % 5, "waiting": tick % 2, "kv_usage": tick / 80, "prompt_tokens": tick}
            series.append({"t": zero + tick / 5, "way": way, **count, "output_tokens": 3 * tick})
        zero += 12
        rows.append({"t": zero - 1, "event": "end", "phase": way, "answered": 10, "failed": 0})
    files: dict[str, str | bytes] = {
        "events.jsonl": lines(rows), "arrivals.jsonl": lines(lives), "metrics/series.jsonl": lines(series),
    }  # fmt: skip
    return make(folder, {"kind": "arrivals", "requests": 10}, files, **told)


def parameters(folder: Path, **told: Any) -> Path:
    """Two of the eleven rows."""
    kept = {
        "name": "max_num_seqs",
        "flag": "--max-num-seqs",
        "default": None,
        "default_source": "EngineArgs",
        "resolved": 256,
        "resolved_serve": 256,
        "resolved_by": "create_engine_config",
        "tutorial": 256,
        "meaning": {"en": "most requests at a time", "zh": "同时运行的最大请求数"},
        "removed_in": None,
        "note": "",
    }
    gone = {**kept, "name": "swap_space", "flag": "--swap-space", "resolved": None, "resolved_serve": None,
            "default_source": None, "tutorial": 4, "removed_in": "0.18.0", "note": "gone since 0.18.0"}  # fmt: skip
    held = {"schema": 1, "vllm": "0.32.0", "model": "facebook/opt-125m", "device": "cpu", "rows": [kept, gone]}
    files: dict[str, str | bytes] = {"events.jsonl": "", "parameters.json": json.dumps(held)}
    return make(folder, {"kind": "parameters"}, files, **told)


def span(folder: Path, **told: Any) -> Path:
    """A server over two hosts of which the second one was killed."""
    hosts = {"hosts": ["gpu1", "gpu2"], "addresses": ["10.0.0.1", "10.0.0.2"], "runs": ["r0", "r1"], "rank": 0}
    first = {"name": "gpu1", "machine": {"cores": 2}, "packages": {"vllm": "0.32.0"}, "samples": None}
    other = {
        "name": "gpu2",
        "host": "gpu2",
        "rank": 1,
        "run": "r1",
        "machine": {"cores": 2},
        "packages": {},
        "samples": {"run": "r1"},
        "status": "failed",
        "message": "killed by signal 9",
        "log_tail": ["a", "b"],
    }
    error = {"kind": "peer", "phase": "engine", "message": "gpu2: killed by signal 9", "exit": None, "node": "gpu2",
             "log_tail": ["INFO loading weights", "the last line of gpu2"]}  # fmt: skip
    files: dict[str, str | bytes] = {"machine/node-1.json": json.dumps(other)}
    more = {"status": "failed", "error": error, "nodes": [first, other], "spec": {"span": hosts, "server": {}}}
    return make(folder, ASKED, files, **{**more, **told})


def gpus(folder: Path, masks: Sequence[int] = (0, 4, 68, 2), **told: Any) -> Path:
    """Two passes on GPUs 0 and 1 beside an idle one; ``masks``: NVML's reasons for the clock of GPU 1, in turn."""
    told_of = "gpu,gpu_mem_used,gpu_mem_total,gpu_util,gpu_mem_util,power_w,sm_clock_mhz,mem_clock_mhz,temp_c,throttle"
    rows = [f"t,phase,{told_of},rss,cpu,mem_available"]
    for tick in range(120):
        phase = "engine" if tick < 60 else "generate"
        for gpu in range(3):
            busy = phase == "generate" and gpu < 2
            mask = masks[tick % len(masks)] if busy and gpu == 1 else 0 if busy else 1
            power, clock, heat = (600 + tick, 1980 - tick, 60 + gpu) if busy else (70, 345, 30)
            used = f"{gpu},{2**35},{2**36},{90 * busy},{40 * busy}"
            rows.append(f"{21 + tick / 5:.1f},{phase},{used},{power},{clock},2619,{heat},{mask},{2**30},99.0,{2**34}")
    passes = [*ENGINE]
    for number in range(2):
        about = {"phase": "generate", "number": number}
        counted = {"seconds": 6.0, "output_tokens": 300, "cached_tokens": 0}
        passes += [{"t": 33.0 + 6 * number, "event": "begin", **about}]
        passes += [{"t": 39.0 + 6 * number, "event": "end", **about, **counted}]
    files: dict[str, str | bytes] = {"events.jsonl": lines(passes), "samples.csv": "\n".join(rows) + "\n"}
    asked = {"engine": {"tensor_parallel_size": 2}}
    return make(folder, {"kind": "prompts", "prompts": ["a"]}, files, **{"spec": asked, **told})


KINDS = (server, hold, batches, serve_bench, batching, parameters, span, gpus)


def study(folder: Path) -> Path:
    """A grid of two settings, three runs of it made, one impossible and one not yet run; gives its file."""
    points = []
    for place, (seqs, eager) in enumerate([(16, True), (64, True), (256, True), (16, False), (64, False)]):
        told: dict[str, Any] = {"values": {"engine.max_num_seqs": seqs, "engine.enforce_eager": eager}, "error": ""}
        if place < 3:
            seconds = {"seconds": 2.0 / (place + 1), "output_tokens": 300, "cached_tokens": 0}
            rows = [*ENGINE]
            for number in range(2):
                about = {"phase": "generate", "number": number}
                rows += [{"t": 30.0, "event": "begin", **about}, {"t": 33.0, "event": "end", **about, **seconds}]
            gauge = f'vllm:cache_config_info{{block_size="16",num_gpu_blocks="{100 * (place + 1)}"}} 1.0\n'
            files: dict[str, str | bytes] = {"events.jsonl": lines(rows), "metrics/end.prom": gauge}
            run = make(folder / "runs" / f"r{place}", {"kind": "prompts", "prompts": ["a"]}, files)
            told |= {"run": run.name, "status": "ok"}
        elif place == 3:
            told |= {"run": None, "status": "refused", "error": "max_num_seqs <16> makes no sense with that"}
        else:
            told |= {"run": None, "status": "waiting"}
        points.append(told)
    held = {
        "schema": 1, "study": "s1", "lab": "offline", "host": "gpu1", "vllm": "0.32.0", "made_utc": "2026-11-23",
        "vary": [["engine.max_num_seqs", [16, 64, 256]], ["engine.enforce_eager", [True, False]]], "points": points,
    }  # fmt: skip
    (folder / "studies").mkdir()
    (folder / "studies" / "s1.json").write_text(json.dumps(held))
    return folder / "studies" / "s1.json"
