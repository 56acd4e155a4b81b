"""When the engine works: what the sampler shows as the picture "during" a run, and what the GPU's figures are of."""

from __future__ import annotations

# Phases in which a kept server waits for others' requests, idle for hours maybe.
WAITING = frozenset({"up", "serving"})
# Phases in which the engine is asked by the run itself: what the GPU's figures are of.
ASKED = frozenset({"tutorial", "warmup", "generate", "call", "point", "continuous", "static", "alone"})
# Phases in which the engine is up and can be in use: the picture "during".
AT_WORK = ASKED | WAITING
