"""How large a model is and what one step of it reads: counted on its architecture, without its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.runner import checkpoint

if TYPE_CHECKING:
    from labctl.runner.events import Events

# Bytes of one number, by torch's name of its type.
SIZES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8, "int8": 1, "uint8": 1}
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
# Layers whose state is no cache of keys and values that grows with the context (or a compressed one: MLA).
_OTHER_CACHE = (
    "kv_lora_rank", "mamba_d_state", "ssm_state_size", "state_size", "linear_conv_kernel_dim", "layers_block_type",
    "block_types", "attn_layer_period",
)  # fmt: skip
_GROWING = {"full_attention", "sliding_attention", "chunked_attention", "attention"}


def tell(engine: dict[str, Any], events: Events) -> None:
    """Emit the event ``model_shape`` for what ``engine`` (vLLM's arguments, ``model`` a folder or id) will load.

    Without weights, memory or a GPU: the architecture is built on torch's meta device. Whatever fails is told in the
    event (``error``) and never ends the run.
    """
    with events.during("model_shape"):
        try:
            found = shape(engine)
        except Exception as error:  # noqa: BLE001 - an architecture that transformers cannot build has no known size
            found = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
        events.emit("model_shape", **found)


def shape(engine: dict[str, Any]) -> dict[str, Any]:
    """The shape as plain data. Raises whatever transformers raises for an architecture that it does not know.

    ``params`` in all; ``embedding_params`` of the input embedding, ``tied`` whether the output uses it too;
    ``lookup_params`` of the tables from which a step takes single rows (input embedding unless tied, learned
    positions); ``dtype`` as the arguments or the config say; ``weight_bytes`` in all and ``step_bytes`` without the
    lookup tables (None: unknown, ``note`` says why); ``kv_bytes_per_token`` for a cache of the model's own type.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    trust = bool(engine.get("trust_remote_code"))
    overrides = engine.get("hf_overrides")
    more = overrides if isinstance(overrides, dict) else {}
    full = AutoConfig.from_pretrained(engine["model"], trust_remote_code=trust, revision=engine.get("revision"), **more)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(full, trust_remote_code=trust)
    config = full.get_text_config()
    output = model.get_output_embeddings()
    head = None if output is None else output.weight
    embedding = model.get_input_embeddings().weight
    tables = {
        name: module.weight
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Embedding) and module.weight is not head
    }
    found = {
        "params": sum(one.numel() for one in model.parameters()),
        "embedding_params": embedding.numel(),
        "tied": embedding is head,
        "lookup_params": sum(one.numel() for one in {id(table): table for table in tables.values()}.values()),
        "dtype": _dtype(engine, config),
        **attention(config),
        **_kind(engine, full, config),
    }
    return {**found, **_bytes(found, engine, list(tables))}


def _dtype(engine: dict[str, Any], config: Any) -> str:
    """As vLLM resolves it (vllm/config/model.py, 0.32.0, _get_and_verify_dtype): float32 is cast by "auto"."""
    asked = str(engine.get("dtype") or "auto").removeprefix("torch.")
    if asked != "auto":
        return {"half": "float16", "float": "float32"}.get(asked, asked)
    told = str(getattr(config, "dtype", None) or "bfloat16").removeprefix("torch.")
    return "bfloat16" if told == "float32" else told


def attention(config: Any) -> dict[str, Any]:
    """Layers, heads and sizes of a config of transformers, and ``kv_values_per_token``: numbers cached a token.

    2 (key and value) x layers x key-value heads x head size; None where the cache is of another kind.
    """
    heads, hidden = config.num_attention_heads, config.hidden_size
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or hidden // heads
    layers = config.num_hidden_layers
    other = any(getattr(config, name, None) for name in _OTHER_CACHE)
    other = other or bool(set(getattr(config, "layer_types", None) or ()) - _GROWING)
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return {
        "layers": layers, "hidden": hidden, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim,
        "kv_values_per_token": None if other else 2 * layers * kv_heads * head_dim,
        "sliding_window": window if isinstance(window, int) else None,
    }  # fmt: skip


def _kind(engine: dict[str, Any], full: Any, config: Any) -> dict[str, Any]:
    experts = next((n for name in _EXPERTS if isinstance(n := getattr(config, name, None), int) and n > 1), None)
    on_disk = getattr(full, "quantization_config", None) or getattr(config, "quantization_config", None)
    told = on_disk if isinstance(on_disk, dict) else {}
    name = engine.get("quantization") or told.get("quant_method") or ("unnamed" if on_disk else None)
    return {"experts": experts, "quantization": name, "quantized_on_disk": bool(on_disk)}


def _bytes(found: dict[str, Any], engine: dict[str, Any], tables: list[str]) -> dict[str, Any]:
    """Bytes of the weights: parameters x the type's size, or of the checkpoint's own tensors where it is quantized."""
    size, values = SIZES.get(found["dtype"]), found["kv_values_per_token"]
    total = step = None
    note = "" if size else f"the size of the type {found['dtype']} is not known"
    if found["quantization"]:
        total, step = _stored(engine, tables) if found["quantized_on_disk"] else (None, None)
        note = f"quantized ({found['quantization']}): {'bytes on disk' if total else 'its bytes are not known'}"
    elif size:
        total, step = found["params"] * size, (found["params"] - found["lookup_params"]) * size
    if found["experts"]:
        step, note = None, f"a mixture of {found['experts']} experts: how many a step reads depends on its tokens"
    kv = None if values is None or size is None else values * size
    return {"weight_bytes": total, "step_bytes": step, "kv_bytes_per_token": kv, "note": note}


def _stored(engine: dict[str, Any], tables: list[str]) -> tuple[int | None, int | None]:
    """Bytes of all tensors of the checkpoint, and of those that are no lookup tables; None without a checkpoint."""
    if engine.get("load_format") == "dummy":
        return None, None
    stored = checkpoint.tensors(str(engine["model"]))
    # Names in a checkpoint may have another prefix than those of the built model.
    looked_up = sum(n for name, n in stored.items() if any(_same(name, f"{table}.weight") for table in tables))
    total = sum(stored.values())
    return (total, total - looked_up) if total else (None, None)


def _same(stored: str, built: str) -> bool:
    return stored == built or stored.endswith(f".{built}") or built.endswith(f".{stored}")
