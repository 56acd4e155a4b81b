"""The least time that a step of a decoder can take on a machine, and what it depends on. Pure arithmetic.

A step (one token of every sequence of the batch) reads all weights and every sequence's cached keys and values
once, and multiplies each weight once a token (Pope et al., "Efficiently Scaling Transformer Inference", 2022,
arXiv 2211.05102, section 2). So it takes at least

    max(step_bytes / bandwidth, step_flop / matrix rate)      seconds

(Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model", CACM 52(4), 2009). The share of the
bandwidth or of the matrix rate that a run reaches is its steps a second x step_bytes or step_flop, by that rate.

The rates are measured (rates.py): bandwidth is that of a copy, half of it reads. What only reads can be a little
faster, so that a share over 100 % is possible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.runner.model_shape import SIZES

if TYPE_CHECKING:
    from collections.abc import Mapping


class Model(NamedTuple):
    """What a step takes of the machine. None: unknown, and ``no_bytes`` or ``no_flop`` say why.

    ``weights``: bytes read of them; ``multiplied``: parameters; ``kv``: bytes cached a token; ``attention``: layers x
    heads x head size; ``window``: tokens that attention looks back on at most.
    """

    weights: float | None
    multiplied: int | None
    kv: float | None
    attention: int | None
    window: int | None
    no_bytes: str
    no_flop: str


def step_bytes(model: Model, batch: float, context: float) -> float | None:
    """Weights without the input embedding (unless tied: the output reads it) + batch x context x kv, in bytes."""
    if model.weights is None or model.kv is None:
        return None
    return model.weights + batch * min(context, model.window or context) * model.kv


def step_flop(model: Model, batch: float, context: float) -> float | None:
    """Batch x (2 x parameters without the input embedding + 4 x layers x heads x head size x context).

    2 FLOP a parameter and token: Kaplan et al., "Scaling Laws for Neural Language Models", 2020, arXiv 2001.08361,
    section 2.1. Attention: scores and weighted values, 2 FLOP each, which is a third (the forward pass) of
    Chowdhery et al., "PaLM", 2022, arXiv 2204.02311, appendix B.
    """
    if model.multiplied is None or model.attention is None:
        return None
    return batch * (2 * model.multiplied + 4 * model.attention * min(context, model.window or context))


def mean_context(prompt: float, output: float) -> float:
    """Tokens of a sequence that a step finds, on average over its ``output`` steps: the first one finds the prompt.

    The prompt's own step counts as one like the others: right for prompts that are short beside the output, and a
    throughput with long ones looks further from the limit than it is.
    """
    return prompt + (output - 1) / 2


def model(shape: Mapping[str, Any], resolved: Mapping[str, Any]) -> Model:
    """From the events ``model_shape`` (before the start) and ``resolved`` (what the engine told; preferred)."""
    dtype = resolved.get("dtype") or shape.get("dtype")
    params, tables = _whole(shape.get("params")), _whole(shape.get("lookup_params"))
    multiplied = None if params is None or tables is None else params - tables
    parts = [_whole(shape.get(name)) for name in ("layers", "heads", "head_dim")]
    size = SIZES.get(str(dtype))
    weights: float | None = None if multiplied is None or size is None else multiplied * size
    missing = str(shape.get("error") or shape.get("note") or "the model's size is not known")
    no_flop = missing if None in (multiplied, *parts) else ""
    quantized = shape.get("quantization") or resolved.get("quantization")
    if quantized:
        # Its bytes are known where they are those on disk; and the matrix rate is that of another type.
        weights = _whole(shape.get("step_bytes")) if shape.get("quantization") else None
        missing = missing if shape.get("quantization") else f"quantized ({quantized}) by the engine"
        no_flop = f"quantized ({quantized}): the matrix rate was measured for {dtype}"
    if shape.get("experts"):
        weights, no_flop = None, missing
    kv = _kv(shape, resolved, size)
    return Model(
        weights=weights,
        multiplied=None if no_flop else multiplied,
        kv=kv,
        attention=None if no_flop else _product(parts),
        window=_whole(shape.get("sliding_window")),
        no_bytes=missing if weights is None else "" if kv else "what a token takes in the cache is not known",
        no_flop=no_flop,
    )


def _kv(shape: Mapping[str, Any], resolved: Mapping[str, Any], size: int | None) -> float | None:
    """Bytes of a token in the cache: its numbers x the size of the cache's type ("auto": the model's own)."""
    values, kind = _whole(shape.get("kv_values_per_token")), str(resolved.get("kv_cache_dtype") or "auto")
    each = size if kind == "auto" else 1 if kind.startswith("fp8") else SIZES.get(kind)
    return None if values is None or each is None else float(values * each)


def _product(parts: list[int | None]) -> int | None:
    found = 1
    for part in parts:
        if part is None:
            return None
        found *= part
    return found


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
