"""``vllm bench serve`` as a child: whether it can be had here, the words it gets, one run of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.runner import last_words, processes, wire
from labctl.runner.failures import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from labctl.runner.serving import Endpoint
    from labctl.runner.workloads import ServeBench

_CLIENT = [sys.executable, "-I", "-u", "-m", "vllm.entrypoints.cli.main", "bench", "serve"]
# Seconds that ``--help`` may take: it imports vLLM (10 s here, several times that on a cold disk).
_HELP = 300
_FLAG = re.compile(r"^ *(--[a-z][a-z0-9-]*)", re.MULTILINE)
_MISSING = re.compile(r"No module named '([\w.]+)'|Please install (\S+)")
# How often the server is looked at while its client runs (s), and how many looks in vain end the client.
_ROUND = 5.0
_ROUNDS = 12


class Point(NamedTuple):
    """One run of the client: ``concurrency`` or ``rate`` (requests a second), ``requests`` sent, prompts' ``seed``."""

    number: int
    concurrency: int | None
    rate: float | None
    requests: int
    seed: int
    repeat: int

    @property
    def file(self) -> str:
        """The client's own JSON, below the run directory."""
        return f"bench/serve-{self.number:02d}.json"

    def told(self) -> dict[str, Any]:
        """What events say of it."""
        shape = {"concurrency": self.concurrency} if self.rate is None else {"rate": self.rate}
        return {"number": self.number, **shape, **{k: getattr(self, k) for k in ("requests", "seed", "repeat", "file")}}


def flags() -> frozenset[str]:
    """The flags of the client that is installed. Raises ClientError naming what is missing where it cannot start.

    By its own help, so that a version without a flag is met without it: all that ``words`` uses are in 0.25.1 and
    in 0.32.0 (vllm/benchmarks/serve.py).
    """
    done = subprocess.run([*_CLIENT, "--help=all"], capture_output=True, text=True, timeout=_HELP, check=False)
    sys.stderr.write(done.stderr)
    if done.returncode:
        said = last_words.choose(done.stderr.split("\n") + done.stdout.split("\n"))
        raise ClientError(f"vllm bench serve cannot start in this environment: {missing(said)}")
    return known_flags(done.stdout)


def known_flags(text: str) -> frozenset[str]:
    """The flags that the text of ``--help=all`` explains."""
    return frozenset(_FLAG.findall(text))


def missing(said: str) -> str:
    """What an import's last words say is missing; the words themselves where they say nothing of the kind."""
    found = _MISSING.search(said)
    return f"it lacks {found[1] or found[2]} ({said})" if found else said


class Client(NamedTuple):
    """What every point has in common: the workload, the server and its ``engine`` arguments, sampling, known flags."""

    work: ServeBench
    endpoint: Endpoint
    engine: dict[str, Any]
    sampling: dict[str, Any]
    known: frozenset[str]

    def words(self, point: Point) -> list[str]:
        """The words after ``vllm bench serve`` for one point, without optional ones that this version does not know.

        No ready check and no warm-up of its own: it takes the first measured prompt for both, whose prefix then lies
        in the cache. Raises ClientError for a flag that cannot be done without.
        """
        needed = self._needed(point)
        lacking = sorted(name for name in needed if f"--{name}" not in self.known)
        if lacking:
            raise ClientError(f"this vLLM's bench serve has no --{', --'.join(lacking)}")
        wished = {k: v for k, v in self._optional().items() if v is not None and v is not False}
        return list(_said({**needed, **{k: v for k, v in wished.items() if f"--{k}" in self.known}}))

    def _needed(self, point: Point) -> dict[str, Any]:
        work, engine = self.work, self.engine
        shape = {"max-concurrency": point.concurrency, "request-rate": point.rate}
        slo = [f"{name}:{limit}" for name, limit in sorted(work.goodput.items())]
        return {
            "backend": "openai", "host": wire.host(self.endpoint), "port": self.endpoint.port,
            "model": self.endpoint.model, "tokenizer": engine.get("tokenizer") or engine.get("model"),
            "dataset-name": "random", "random-input-len": work.input_tokens, "random-output-len": work.output_tokens,
            "num-prompts": point.requests, "seed": point.seed, "ignore-eos": True, "save-result": True,
            "result-dir": "bench", "result-filename": point.file.rpartition("/")[2],
            **{name: value for name, value in shape.items() if value is not None},
            "percentile-metrics": "ttft,tpot,itl,e2el", "metric-percentiles": "50,90,95,99",
            **({"goodput": slo} if slo else {}),
        }  # fmt: skip

    def _optional(self) -> dict[str, Any]:
        return {
            "num-warmups": 0, "ready-check-timeout-sec": 0, "save-detailed": self.work.detailed,
            "tokenizer-mode": self.engine.get("tokenizer_mode"),
            "trust-remote-code": bool(self.engine.get("trust_remote_code")),
            # vLLM's own flags are called as SamplingParams are.
            **{name.replace("_", "-"): self.sampling.get(name) for name in self.work.SAMPLING},
        }  # fmt: skip

    def run(self, said: list[str], run_dir: Path, alive: Callable[[], bool]) -> None:
        """Run the client to its end below ``run_dir``, its output in the engine log.

        ``alive()``: whether the server still answers; a client whose server is gone gets a last minute. Raises
        ClientError with its last words where it broke.
        """
        heard = last_words.LastWords(run_dir)
        process = subprocess.Popen(
            [*_CLIENT, *said],
            stdin=subprocess.DEVNULL,
            env=_environment(self.endpoint),
            cwd=run_dir,
            process_group=0,
            preexec_fn=processes.die_with_parent,  # noqa: PLW1509 - the threads of a warm-up are over
        )
        try:
            _wait(process, alive)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode:
            raise ClientError(f"vllm bench serve ended with exit status {process.returncode}{heard.told()}")


def _said(given: dict[str, Any]) -> Iterator[str]:
    for name, value in given.items():
        if isinstance(value, list):
            yield from (f"--{name}", *value)
        else:
            yield f"--{name}" if value is True else f"--{name}={value}"


def _environment(endpoint: Endpoint) -> dict[str, str]:
    """The worker's, with the key where the client looks for it, past any proxy, and with a calm progress bar."""
    direct = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), wire.host(endpoint))))
    # 0.32.0 can hand over to a client in Rust (entrypoints/cli/benchmark/main.py); the JSON read here is Python's.
    made = {"NO_PROXY": direct, "no_proxy": direct, "TQDM_MININTERVAL": "1", "VLLM_USE_RUST_BENCH": "0"}
    return {**os.environ, **made, **({"OPENAI_API_KEY": endpoint.key} if endpoint.key else {})}


def _wait(process: subprocess.Popen[bytes], alive: Callable[[], bool]) -> None:
    """Until the client ends; once the server is gone, no longer than a minute."""
    gone = 0
    while gone < _ROUNDS:
        try:
            process.wait(timeout=_ROUND)
        except subprocess.TimeoutExpired:
            gone = 0 if alive() else gone + 1
        else:
            return
