"""A synthetic model: a true architecture with random weights and a small tokenizer, for machines without a hub.

Its text is noise; its speed and memory are those of the architecture. Always labelled as such.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

# Above this, weights are not written to disk: vLLM makes them itself (load_format="dummy").
_WRITE_LIMIT = 1_000_000_000
# The tokenizer that was trained is small; its other ids are filled up with syllables, so that whatever id a
# random model samples has a text.
_TRAINED = 2000
_VERSION = 1


def architecture(model: str) -> dict[str, Any] | None:
    """config.json of the architecture of a hub id, or None where the lab has none."""
    for entry in (resources.files("labctl.runner") / "architectures").iterdir():
        config: dict[str, Any] = json.loads(entry.read_text(encoding="utf-8"))
        if model in config["_models"]:
            return config
    return None


def known() -> list[str]:
    """The hub ids whose architecture the lab knows."""
    entries = (resources.files("labctl.runner") / "architectures").iterdir()
    return sorted(name for entry in entries for name in json.loads(entry.read_text(encoding="utf-8"))["_models"])


def make(model: str, config: dict[str, Any], models_dir: Path) -> tuple[Path, str]:
    """Make the synthetic twin of ``model`` below ``models_dir``, once. Returns (folder, weights: random or dummy)."""
    plain = {key: value for key, value in config.items() if not key.startswith("_")}
    weights = "random" if parameters(plain) <= _WRITE_LIMIT else "dummy"
    target = models_dir / "synthetic" / f"{model.replace('/', '--')}-v{_VERSION}"
    if target.is_dir():
        return target, weights
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    scratch.mkdir(parents=True)
    try:
        (scratch / "config.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
        _tokenizer(scratch, plain)
        if weights == "random":
            _weights(scratch, plain)
        # Another run may have been quicker; its folder is the same.
        if not target.is_dir():
            scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target, weights


def parameters(config: dict[str, Any]) -> int:
    """Roughly how many parameters a decoder with this config has (within a few per cent)."""
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    inner = config.get("intermediate_size") or config.get("ffn_dim") or 4 * hidden
    matrices = 3 if config.get("hidden_act") == "silu" else 2
    embeddings = 1 if config.get("tie_word_embeddings", True) else 2
    total: int = layers * (4 * hidden * hidden + matrices * hidden * inner) + embeddings * config["vocab_size"] * hidden
    return total


def _corpus() -> list[str]:
    # Text that is on every machine with Python: docstrings of the standard library.
    folder = Path(os.__file__).parent
    return [
        (folder / name).read_text(encoding="utf-8", errors="replace")
        for name in ("os.py", "typing.py", "json/__init__.py")
    ]


def _syllables() -> list[str]:
    return [first + vowel for first in "bdfgklmnprstvz" for vowel in "aeiou"]


def _tokenizer(folder: Path, config: dict[str, Any]) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_TRAINED,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    data = json.loads(tokenizer.to_str())
    vocabulary: dict[str, int] = data["model"]["vocab"]
    words = ("\u0120" + "".join(parts) for parts in itertools.product(_syllables(), repeat=3))
    fresh = (word for word in words if word not in vocabulary)
    vocabulary.update({next(fresh): number for number in range(len(vocabulary), config["vocab_size"])})
    (folder / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "</s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "model_max_length": config["max_position_embeddings"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _weights(folder: Path, config: dict[str, Any]) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    full = AutoConfig.for_model(**config)
    model = AutoModelForCausalLM.from_config(full).to(getattr(torch, config["torch_dtype"]))
    # Its own config.json is kept: save_pretrained would write this machine's transformers version into it.
    model.save_pretrained(folder / "weights")
    (folder / "weights" / "model.safetensors").rename(folder / "model.safetensors")
    shutil.rmtree(folder / "weights")
