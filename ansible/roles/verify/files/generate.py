"""Generate tokens with the lab's vLLM for a moment: ``generate.py LAB_DIR MODEL SECONDS``; its Python is the lab's.

With random weights, eager, and under the lab's own lock, so that no run is disturbed. A line of stdout that begins
with `verify: ` says what was seen. Exits 1 with a sentence.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
import time
from pathlib import Path


def prepare(lab: Path) -> None:
    """Set what the worker of a run would be given (labctl/runner/machine.py), and less memory."""
    from labctl.runner import machine, spec

    asked = spec.from_dict({"schema": 1, "lab": "offline", "model": "x", "workload": {"prompts": ["x"]}})
    os.environ.update(machine.environment(lab / "tmp" / "verify", lab, asked))
    os.environ.update({"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "WARNING"})


def generate(folder: str, seconds: float) -> tuple[str, int, float]:
    """Version of vLLM, how many tokens came, and in what time."""
    import vllm

    begun = time.monotonic()
    llm = vllm.LLM(folder, enforce_eager=True, max_model_len=256, max_num_seqs=8, gpu_memory_utilization=0.2)
    sys.stdout.write(f"engine ready after {time.monotonic() - begun:.0f} s\n")
    sampling = vllm.SamplingParams(max_tokens=16, ignore_eos=True, seed=0)
    prompts = ["The capital of France is"] * 4
    llm.generate(prompts, sampling, use_tqdm=False)
    tokens, begun = 0, time.monotonic()
    while time.monotonic() - begun < seconds or not tokens:
        tokens += sum(len(row.outputs[0].token_ids) for row in llm.generate(prompts, sampling, use_tqdm=False))
    return vllm.__version__, tokens, time.monotonic() - begun


def main(lab: Path, model: str, seconds: float) -> None:
    """Do it."""
    from labctl.runner import locks, synthetic

    config = synthetic.architecture(model)
    if config is None:
        sys.exit(f"the lab knows no architecture for {model}; it knows {', '.join(synthetic.known())}")
    prepare(lab)
    for name in ("tmp", "locks"):
        (lab / name).mkdir(exist_ok=True)
    holder = {"run_id": "verify", "pid": os.getpid(), "since": dt.datetime.now(dt.UTC).isoformat()}
    try:
        locks.take(lab / "locks", locks.devices(os.environ), holder)
    except locks.BusyError as error:
        sys.exit(f"a run is going on: {error}")
    folder, _ = synthetic.make(model, config, lab / "models")
    version, tokens, took = generate(str(folder), seconds)
    if not tokens:
        sys.exit("not one token came")
    said = {"architecture": model, "weights": "random", "vllm": version}
    told = f"{tokens} tokens in {took:.1f} s ({tokens / took:.0f} a second, eager)"
    sys.stdout.write(f"verify: {told}: {json.dumps(said)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
