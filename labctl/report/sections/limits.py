"""What the machine can do at most, as the runner measured it there, and what of the model the shares are counted by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.report.amounts import number, size
from labctl.report.blocks import Fold, Section, Words, cell, table
from labctl.report.text import clean, line
from labctl.runner.rundir import EVENTS

if TYPE_CHECKING:
    from labctl.report.blocks import Block, Cell
    from labctl.report.raw import Row
    from labctl.report.shown import Shown

CEILINGS = "bench/ceilings.json"
WORDS = (
    "A step at a small batch has to read all weights (but the input embedding) and the KV cache so far: the share of "
    "the bandwidth limit says how near it comes to the speed of the memory. A step at a large batch has to multiply: "
    "the share of the matrix limit says how near it comes to that. Neither limit includes what else a step does."
)
# Figure, what it is, key in the raw file.
LIMITS = (
    ("ceiling_bandwidth", "memory bandwidth (copy)", "bandwidth"),
    ("ceiling_matmul", "matrix multiplication", "matmul"),
)
SHAPE = (
    ("params", "parameters"), ("embedding_params", "of them in the input embedding"), ("tied", "embeddings tied"),
    ("weight_bytes", "weights"),
    ("step_bytes", "of them read in a step"), ("layers", "layers"), ("hidden", "hidden size"), ("kv_heads", "KV heads"),
    ("head_dim", "head size"), ("dtype", "number type"), ("kv_bytes_per_token", "KV cache a token"),
)  # fmt: skip


def section(shown: Shown) -> Section | None:
    """The ceilings with how they were measured, and the model's shape; None where neither was recorded."""
    told = shown.run.raw.object(CEILINGS)
    shape = next((row for row in shown.run.events if row["event"] == "model_shape"), None)
    if not told and shape is None:
        return None
    blocks: list[Block] = []
    if told:
        blocks += [Words(WORDS, "faint"), _ceilings(shown, told), Words(_origin(told), "faint")]
    if shape is not None:
        blocks.append(Fold("The model's shape", (_shape(shown, shape),)))
    return Section("limits", "The machine's limits", tuple(blocks))


def _ceilings(shown: Shown, told: Row) -> Block:
    rows: list[list[Cell]] = []
    for name, label, key in LIMITS:
        held: Any = told.get(key)
        held = held if isinstance(held, dict) else {}
        rows.append([cell(label), shown.cell(name), cell(_how(held) or clean(shown.figure(name).get("note"), 300))])
    return table(("limit", "measured", "how"), rows, numeric=(1,))


def _how(held: Row) -> str:
    many = number(held.get("n"))
    parts = (line(held.get("dtype"), 30), f"n = {many}" if many else "")
    return line(held.get("how"), 300) or ", ".join(part for part in parts if part)


def _origin(told: Row) -> str:
    when = line(told.get("measured_utc"), 40)
    again = (
        "Measured earlier on this host with the same versions"
        if told.get("reused") is True
        else "Measured before the run"
    )
    parts = (f"{again}{f' ({when})' if when else ''}", line(told.get("device"), 120), _torch(told))
    return ", ".join(part for part in parts if part) + "."


def _torch(told: Row) -> str:
    version = line(told.get("torch"), 40)
    return f"torch {version}" if version else ""


def _shape(shown: Shown, shape: Row) -> Block:
    place = shown.source(f"{EVENTS}:{shape['line']}")
    rows = []
    for key, label in SHAPE:
        held = shape.get(key)
        text = size(held) if "bytes" in key else clean(held, 60)
        if held is not None:
            rows.append([cell(label), cell(text, source=place)])
    if why := clean(shape.get("error") or shape.get("note"), 500):
        rows.append([cell("note"), cell(why, source=place)])
    shown.figure("model_params")
    return table(("of the model", "as loaded"), rows, numeric=(1,))
