"""When the engine works: what the sampler shows as the picture "during" a run, and what the GPU's figures are of."""

from __future__ import annotations

# Phases in which the engine is up and is used; "up" and "serving": it waits for others' requests then.
AT_WORK = frozenset(
    {"tutorial", "warmup", "generate", "call", "point", "continuous", "static", "alone", "up", "serving"}
)
