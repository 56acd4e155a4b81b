"""Our words for `vllm serve`, read back by the parser of the vLLM that is really installed."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from labctl import labs

if TYPE_CHECKING:
    from tests.e2e.conftest import Project

# Runs in the host's environment, with the runner that is installed there.
SCRIPT = """
import argparse, dataclasses, json, sys
from labctl.runner import serve_args
from vllm.engine.arg_utils import EngineArgs
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = make_arg_parser(FlexibleArgumentParser())

def read(engine):
    return vars(parser.parse_args(serve_args.flags(engine)))

names = {field.name for field in dataclasses.fields(EngineArgs)}
kinds = (argparse.BooleanOptionalAction, argparse._StoreTrueAction)
switches = sorted({one.dest for one in parser._actions if isinstance(one, kinds)} & names)
told = {"switches": len(switches), "wrong": []}
for name in switches:
    for value in (True, False):
        got = read({"model": "m", name: value})
        if got[name] is not value or got["model_tag"] != "m":
            told["wrong"].append([name, value])
told["read"] = []
for engine in json.load(sys.stdin):
    got = read({"model": "m", **engine})
    told["read"].append({name: got[name] if got[name] == value else str(got[name]) for name, value in engine.items()})
print("TOLD" + json.dumps(told))
"""
# One of each kind of argument; vLLM makes objects of the tables, whose text then shows what was understood.
MANY: dict[str, Any] = {
    "max_model_len": 512, "gpu_memory_utilization": 0.85, "dtype": "bfloat16", "served_model_name": ["a", "b"],
    "hf_overrides": {"num_hidden_layers": 2}, "revision": "-odd", "cudagraph_capture_sizes": [1, 2, 4],
    "hf_token": True, "max_num_batched_tokens": 2048, "seed": 0, "nnodes": 2, "tensor_parallel_size": 2,
    "distributed_executor_backend": "mp",
}  # fmt: skip


@pytest.fixture(scope="module")
def told(project: Project) -> dict[str, Any]:
    asked = [MANY, {"compilation_config": {"mode": 3}}, *(labs.read(name).get("engine", {}) for name in labs.bundled())]
    python = project.lab_dir / "env" / "bin" / "python"
    done = subprocess.run(
        [str(python), "-I", "-c", SCRIPT], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.partition("TOLD")[2])
    return found


def test_every_switch_is_read_back(told: dict[str, Any]) -> None:
    assert told["switches"] > 40
    assert told["wrong"] == []


def test_every_kind_of_argument_is_read_back(told: dict[str, Any]) -> None:
    assert told["read"][0] == MANY
    assert "VLLM_COMPILE" in told["read"][1]["compilation_config"]


def test_the_arguments_of_every_lab_are_read_back(told: dict[str, Any]) -> None:
    assert told["read"][2:] == [labs.read(name).get("engine", {}) for name in labs.bundled()]
