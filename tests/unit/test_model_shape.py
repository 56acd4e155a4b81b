"""The arithmetic of a model's shape; the architectures themselves are built in tests/e2e, where transformers is."""

from __future__ import annotations

import json
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from labctl.runner import checkpoint, model_shape

if TYPE_CHECKING:
    from pathlib import Path

OPT = {"num_attention_heads": 12, "hidden_size": 768, "num_hidden_layers": 12}
QWEN = {
    "num_attention_heads": 28, "hidden_size": 3584, "num_hidden_layers": 28, "num_key_value_heads": 4,
    "sliding_window": 131072, "use_sliding_window": False,
}  # fmt: skip


def attention(**config: Any) -> dict[str, Any]:
    return model_shape.attention(SimpleNamespace(**config))


def test_every_head_has_its_own_cache_in_opt() -> None:
    found = attention(**OPT)
    assert (found["kv_heads"], found["head_dim"], found["kv_values_per_token"]) == (12, 64, 2 * 12 * 12 * 64)


def test_heads_share_a_cache_in_qwen() -> None:
    found = attention(**QWEN)
    assert 2 * found["kv_values_per_token"] == 57_344, "bytes a token, as vLLM's block size for it says"
    assert found["sliding_window"] is None, "it has one and does not use it"


@pytest.mark.parametrize(
    ("more", "values"),
    [
        ({"head_dim": 256}, 2 * 28 * 4 * 256),
        ({"layer_types": ["sliding_attention", "full_attention"]}, 28_672),
        ({"layer_types": ["linear_attention", "full_attention"]}, None),
        ({"kv_lora_rank": 512}, None),
        ({"mamba_d_state": 128}, None),
    ],
)
def test_a_cache_of_another_kind_is_unknown(more: dict[str, Any], values: int | None) -> None:
    assert attention(**QWEN, **more)["kv_values_per_token"] == values


@pytest.mark.parametrize(
    ("asked", "told", "dtype"),
    [
        ({}, "torch.float16", "float16"),
        ({"dtype": "auto"}, "torch.float32", "bfloat16"),
        ({"dtype": "half"}, "torch.bfloat16", "float16"),
        ({"dtype": "float32"}, "torch.bfloat16", "float32"),
        ({}, None, "bfloat16"),
    ],
)
def test_the_type_of_the_numbers(asked: dict[str, Any], told: str | None, dtype: str) -> None:
    assert model_shape._dtype(asked, SimpleNamespace(dtype=told)) == dtype


FOUND = {
    "params": 100, "lookup_params": 30, "dtype": "bfloat16", "kv_values_per_token": 7, "experts": None,
    "quantization": None, "quantized_on_disk": False,
}  # fmt: skip


def weigh(folder: Path, **more: Any) -> dict[str, Any]:
    return model_shape._bytes({**FOUND, **more}, {"model": str(folder)}, ["model.embed_tokens"])


def safetensors(path: Path, **sizes: int) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, size in sizes.items():
        header[name.replace("__", ".")] = {"dtype": "I32", "shape": [size // 4], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * at)


def test_bytes_of_weights(tmp_path: Path) -> None:
    found = weigh(tmp_path)
    assert (found["weight_bytes"], found["step_bytes"], found["kv_bytes_per_token"]) == (200, 140, 14)


def test_bytes_of_weights_that_are_quantized_on_disk(tmp_path: Path) -> None:
    safetensors(tmp_path / "model-1.safetensors", model__embed_tokens__weight=800, model__layers__0__qweight=120)
    safetensors(tmp_path / "model-2.safetensors", lm_head__weight=400)
    found = weigh(tmp_path, quantization="awq", quantized_on_disk=True)
    assert (found["weight_bytes"], found["step_bytes"]) == (1320, 520)
    assert "awq" in found["note"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"quantization": "fp8"}, "not known"),
        ({"quantization": "awq", "quantized_on_disk": True}, "not known"),
        ({"experts": 8}, "8 experts"),
        ({"dtype": "float4"}, "float4"),
    ],
)
def test_bytes_that_are_not_known_are_not_guessed(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    found = weigh(tmp_path, **more)
    assert found["step_bytes"] is None
    assert said in found["note"]


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, struct.pack("<Q", 4) + b"nope", struct.pack("<Q", 2) + b"[]"])
def test_a_file_that_is_no_safetensors_is_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=r"safetensors|Expecting value"):
        checkpoint.tensors(str(tmp_path))
