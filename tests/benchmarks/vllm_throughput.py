"""vLLM's own ``vllm bench throughput`` with what a run of a lab gave its engine, beside what the lab measured.

``python -m tests.benchmarks.vllm_throughput RUN_DIR --lab-dir DIR --json FILE`` on the host of the run (``local``).
Needs nothing that labctl itself does not need. A fair run has vLLM's sampling (see SAMPLING) and no sampler:
``labctl run bench --batch-sizes 16 --sampling temperature=1.0 --sampling top_p=1.0 --sample-hz 0``.

What the elapsed time of vLLM's benchmark holds, read in vllm/benchmarks/throughput.py and vllm/entrypoints/ of 0.25.1
and 0.32.0: one ``LLM.generate`` over all prompts, as in a pass of the lab, with the same arguments of ``LLM``
(``from_engine_args`` passes them all on; ``disable_log_stats`` is off in both), detokenised, after a warm-up of as many
requests with other prompts. Beyond that, and not in the lab's pass:
- the prompts are text, so they are tokenised within it (the lab's are tokens, drawn before its clock starts): 1 ms for
  16 prompts of 8 tokens, 37 ms for 16 of 512 (opt-125m's tokenizer, one EPYC core), while the first ones already run;
- two progress bars (``use_tqdm``), which print once a finished request, not once a step: 0.5 ms in all, there.
Of the lab and not in the benchmark's: nothing within the pass; it empties the prefix cache before its clock starts.
So the benchmark is the slower one by a constant, which shows only where passes are short or prompts long. It is one
pass of one engine, and the lab's figure a median: engines of one kind differ by more than that on a small machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from labctl.runner import engine_args, locks, machine, processes, record, rundir, spec

BATCH = 16
# As `vllm bench throughput` samples (_run_vllm_requests in vllm/benchmarks/throughput.py, 0.25.1 and 0.32.0).
SAMPLING = {"temperature": 1.0, "top_p": 1.0}
# What says how long an answer is: the measured passes show it.
LENGTH = {"max_tokens", "ignore_eos"}


class Shape(NamedTuple):
    """What a pass is: requests at once, tokens of each prompt and of each answer."""

    batch: int
    prompt: int
    tokens: int


class Lab(NamedTuple):
    """A run of a lab on this machine: its directory, the lab's, its spec and its record."""

    run_dir: Path
    lab_dir: Path
    asked: spec.RunSpec
    run: record.RunRecord

    def figure(self, name: str) -> dict[str, Any]:
        """One figure. Raises SystemExit where the run has no such number."""
        found: dict[str, Any] = self.run.metrics.get(name) or {}
        if not isinstance(found.get("value"), (int, float)):
            raise SystemExit(f"{self.run_dir} ({self.run.status}) has no {name}")
        return found

    def shape(self, batch: int) -> Shape:
        """As the run's measured requests were. Raises SystemExit where they were not equally long."""
        lengths = []
        for name in ("prompt_tokens", "output_tokens"):
            figure = self.figure(name)
            length, rest = divmod(figure["value"], figure["n"])
            if rest:
                raise SystemExit(f"{self.run_dir}: the requests have unequal {name}")
            lengths.append(length)
        return Shape(batch, *lengths)

    def environment(self) -> dict[str, str]:
        """What the run's engine got, adjustments to the machine included; the mark of the run itself is left out."""
        found = machine.environment(self.run_dir, self.lab_dir, self.asked)
        del found[processes.MARK]
        rows = (self.run.engine or {}).get("adjusted", [])
        # Of the adjustments, those in capitals are variables of the environment, the others arguments of the engine.
        return found | {row["key"]: str(row["value"]) for row in rows if row["key"].isupper()}


def opened(run_dir: Path, lab_dir: Path) -> Lab:
    """A run by its directory. Raises OSError, RecordError, SpecError."""
    asked = spec.from_json((run_dir / rundir.SPEC).read_text(encoding="utf-8"))
    run = record.from_json((run_dir / rundir.RECORD).read_text(encoding="utf-8"))
    # Absolute: the engine takes its cache folders from here.
    return Lab(run_dir.resolve(), lab_dir.resolve(), asked, run)


def options(engine: dict[str, Any]) -> list[str]:
    """Arguments of ``LLM`` as words of vLLM's command line."""
    words: list[str] = []
    for key, value in engine.items():
        name = key.replace("_", "-")
        if key == "disable_log_stats":  # the one switch without a --no- form; off unless given
            words += [f"--{name}"] if value else []
        elif isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, dict):
            words += [f"--{name}", json.dumps(value)]
        elif isinstance(value, list):
            words += [f"--{name}", *map(str, value)]
        elif value is not None:
            words += [f"--{name}", str(value)]
    return words


def by_vllm(lab: Lab, shape: Shape) -> dict[str, Any]:
    """What `vllm bench throughput` tells of one pass of this shape: ``elapsed_time`` (s), ``total_num_tokens``, ...

    It holds the lab's devices meanwhile. Raises BusyError, SystemExit with the end of what vLLM said.
    """
    engine = (lab.run.engine or {}).get("used")
    if not engine:
        raise SystemExit(f"{lab.run_dir}: its record does not say what the engine got")
    environment = lab.environment()
    holder = {"run_id": "of vllm bench throughput", "pid": os.getpid(), "since": datetime.now(UTC).isoformat()}
    held = locks.take(lab.lab_dir / "locks", locks.devices(environment), holder)
    try:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.json"
            command = [
                engine_args.lab_facts(lab.lab_dir)["python"], "-I", "-m", "vllm.entrypoints.cli.main",
                "bench", "throughput", *options(engine), "--dataset-name", "random",
                "--random-input-len", str(shape.prompt), "--random-output-len", str(shape.tokens),
                "--num-prompts", str(shape.batch), "--num-warmups", str(shape.batch), "--output-json", str(out),
            ]  # fmt: skip
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{done.stdout[-3000:]}{done.stderr[-6000:]}\nvllm: exit status {done.returncode}")
            told: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
            return told
    finally:
        machine.clear_sockets(lab.lab_dir / "tmp")
        for handle in held:
            os.close(handle)


def compare(lab: Lab, batch: int = BATCH) -> dict[str, Any]:
    """Both throughputs in generated tokens/s, and what could make them differ."""
    shape = lab.shape(batch)
    ours = lab.figure(f"throughput_b{batch}")
    told = by_vllm(lab, shape)
    theirs = batch * shape.tokens / told["elapsed_time"]
    return {
        "run": lab.run_dir.name,
        "vllm_version": lab.run.nodes[0]["packages"].get("vllm") or lab.asked.vllm,
        **shape._asdict(),
        "labctl": ours["value"],
        "passes": ours["n"],
        "vllm": round(theirs, 3),
        "vllm_seconds": told["elapsed_time"],
        # Random text need not become as many tokens as it was made of.
        "vllm_prompt": (told["total_num_tokens"] - batch * shape.tokens) / batch,
        "ratio": round(ours["value"] / theirs, 4),
        "same_sampling": SAMPLING | {k: v for k, v in lab.asked.sampling.items() if k not in LENGTH} == SAMPLING,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.vllm_throughput")
    parser.add_argument("run_dir", type=Path, help="a run of a lab of batch sizes, there or as it was fetched")
    parser.add_argument("--lab-dir", type=Path, required=True, help="the lab directory of this host")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    told = parser.parse_args()
    found = compare(opened(told.run_dir, told.lab_dir), told.batch)
    shape = f"batch {found['batch']}, prompts of {found['prompt']} tokens (vLLM's: {found['vllm_prompt']:g})"
    print(
        f"labctl {found['labctl']:.1f} tok/s (median of {found['passes']} passes), vllm bench throughput "
        f"{found['vllm']:.1f} tok/s (one pass), ratio {found['ratio']:.4f} ({shape}, {found['tokens']} tokens each)"
    )
    if not found["same_sampling"]:
        print(f"not the same work: vLLM's benchmark samples with {SAMPLING}")
    if told.json:
        told.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
