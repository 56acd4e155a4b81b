from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from labctl import argtables, labs
from labctl.errors import UsageError
from labctl.runner.workloads import Prompts

if TYPE_CHECKING:
    from pathlib import Path

    from labctl.runner import spec

V = "0.32.0"


def build(name: str = "offline", **over: Any) -> spec.RunSpec:
    return labs.build(labs.read(name), vllm=V, env={}, **over)


def prompts(asked: spec.RunSpec) -> Prompts:
    assert isinstance(asked.workload, Prompts)
    return asked.workload


def test_the_tutorials_first_lab() -> None:
    asked = build()
    assert asked.model == "facebook/opt-125m"
    assert prompts(asked).prompts == ("Hello, my name is", "The capital of France is", "Artificial intelligence is")
    assert asked.sampling == {"temperature": 0.8, "top_p": 0.95, "max_tokens": 100}


def test_the_tutorials_second_lab() -> None:
    asked = build("offline-7b")
    assert asked.model == "Qwen/Qwen2.5-7B-Instruct"
    assert asked.engine == {"tensor_parallel_size": 1, "gpu_memory_utilization": 0.9, "max_model_len": 2048}
    assert asked.sampling == {"temperature": 0.7, "top_p": 0.9, "max_tokens": 256, "repetition_penalty": 1.1}
    assert prompts(asked).prompts == ("请解释什么是PagedAttention？", "大模型推理优化的主要方向有哪些？")


@pytest.mark.parametrize("name", labs.bundled())
@pytest.mark.parametrize("version", argtables.versions())
def test_every_lab_is_valid_for_every_version(name: str, version: str) -> None:
    lab = labs.read(name)
    if "vllm_below" in lab.get("needs", {}):
        return  # tests/unit/test_ready_studies.py
    asked = labs.build(lab, vllm=version, env={})
    assert asked.vllm == version


def test_overrides() -> None:
    asked = build(
        model="m/x",
        engine=["max-model-len=2048", "enforce_eager=true", "dtype=bfloat16"],
        sampling=["max_tokens=5"],
        prompts=["Hi"],
        seed=7,
        repeats=5,
        synthetic=False,
    )
    assert asked.engine == {"max_model_len": 2048, "enforce_eager": True, "dtype": "bfloat16"}
    assert (asked.model, asked.seed, asked.synthetic, prompts(asked).repeats) == ("m/x", 7, False, 5)
    assert asked.sampling["max_tokens"] == 5
    assert asked.sampling["top_p"] == 0.95


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"engine": ["gpu_memory_utilisation=0.9"]}, "gpu_memory_utilization"),
        ({"engine": ["swap_space=4"]}, "vLLM 0.32.0 has no engine argument swap_space"),
        ({"engine": ["max_model_len"]}, "takes KEY=VALUE"),
        ({"engine": ["max_model_len=long"]}, "^engine argument max_model_len: 'long' is not"),
        ({"sampling": ["max_token=4"]}, "max_tokens"),
        ({"engine": ["hf_token=hf_abcdefghijklmnop"]}, "hf_token is a secret"),
        ({"engine": ['additional_config={"a": [{"api_key": "x"}]}']}, r"additional_config\.a\.0\.api_key is a secret"),
        ({"engine": ['hf_overrides={"token": ["x"]}']}, r"hf_overrides\.token is a secret"),
        ({"engine": ["nnodes=2"]}, "nnodes is no engine argument of a lab: --span HOST,HOST"),
        ({"engine": ["master-addr=8.8.8.8"]}, "master_addr is no engine argument"),
        ({"engine": ["data_parallel_address=8.8.8.8"]}, "data_parallel_address is no engine argument"),
        ({"prompts": ["half \udcff"]}, "no text can hold"),
        ({"sampling": ["max_tokens=-1"]}, "must be at least 1"),
        ({"prompts": [""]}, "prompt 1 is empty"),
        ({"repeats": 0}, "repeats"),
    ],
)
def test_bad_overrides_never_leave_the_laptop(over: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        build(**over)
    assert caught.value.exit_code == 2


def test_an_unknown_lab_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no lab 'ofline'.*nearest: offline") as caught:
        labs.read("ofline")
    assert caught.value.next_command == "labctl labs"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model = ", "broken TOML"),
        ("modle = 'x'", "unknown key 'modle'; nearest: mode, model"),
        ("engine = 3", "engine must be a table"),
        ("vary = 3", "vary must be a table"),
        ("needs = 'gpu'", "needs must be a table"),
        ("model='m'\n[needs]\ncpus=2\n[workload]\nprompts=['a']", "needs must be a table of gpus"),
        ("model='m'\n[workload]\nprompts=['a']\nprefix_times=0", "prefix_times must be a whole number of at least 1"),
        ("[env]\nPATH = '/x'", "the lab sets PATH"),
        ("[env]\nHF_TOKEN = 'x'", "a secret never goes into a file"),
        ("model='m'\n[workload]\nprompts=['a']\n[engine]\nmax_modle_len=1", "max_model_len"),
        ("model='m'\n[workload]\nprompts=[]", "no prompts"),
        ("model='m'\n[workload]\nprompts=['a']\n[engine]\nmax_model_len='abc'", "max_model_len"),
        ("model='m'\n[workload]\nprompts=['a']\n[engine]\nhf_overrides={token='x'}", "hf_overrides.token is a secret"),
        (
            "model='m'\n[workload]\nprompts=['a']\n[engine]\nhf_overrides='{\"token\": \"x\"}'",
            "hf_overrides.token is a",
        ),
        ("model='m'\n[workload]\nprompts=['a']\n[engine]\nhf_overrides={a=2026-01-01}", "hf_overrides"),
    ],
)
def test_bad_lab_files(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        build(str(path))


def test_ones_own_lab(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("model='m/x'\nseed=3\n[workload]\nprompts=['a']\nrepeats=1\n[env]\nVLLM_CPU_KVCACHE_SPACE=4")
    asked = build(str(path))
    assert (asked.lab, asked.seed, asked.env) == ("mine", 3, {"VLLM_CPU_KVCACHE_SPACE": "4"})


def test_a_runs_spec_is_a_lab(tmp_path: Path) -> None:
    asked = build(engine=["max_model_len=99"], synthetic=False)
    (tmp_path / "spec.json").write_text(asked.to_json(), encoding="utf-8")
    assert build(str(tmp_path / "spec.json")) == asked
    assert build(str(tmp_path / "spec.json"), synthetic=True).synthetic is True


def test_a_missing_lab_file() -> None:
    with pytest.raises(UsageError, match="cannot read the lab"):
        labs.read("/no/such.toml")


def test_a_description_of_a_secret_is_none() -> None:
    """A JSON schema names a field of an answer; a token's number is no token."""
    schema = {"json": {"properties": {"password": {"type": "string"}}}}
    asked = build(engine=['hf_overrides={"eos_token_id": 2}'], sampling=[f"structured_outputs={json.dumps(schema)}"])
    assert asked.engine["hf_overrides"] == {"eos_token_id": 2}
    assert asked.sampling["structured_outputs"] == schema
