"""What makes a measurement count for less: a kernel compiled meanwhile, a warm prefix cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labctl.runner import enginelog
    from labctl.runner.figures.figure import Figure

# vllm/utils/jit_monitor.py (triton_utils/ up to 0.24): a hook of Triton's, in no release before 0.21.
BLIND = "vLLM tells of kernels compiled meanwhile from 0.21 on, and on GPUs alone"


def compiled(told: list[enginelog.Told], began: float, until: float) -> str:
    """Which kernels vLLM's log says were compiled between the two moments (s since the anchor); "" for none."""
    kernels = [
        str(fact.fields.get("kernel", "?"))
        for fact in told
        if fact.name == "jit_during_inference" and began <= fact.t <= until
    ]
    return f"vLLM compiled {', '.join(kernels)} meanwhile" if kernels else ""


def warm(hits: Figure) -> str:
    """Whether the prefix cache already held some of the prompts; "" for none, or where nothing says."""
    held = isinstance(hits.value, float) and hits.value
    return f"{hits.value:.0f} prompt tokens came from a warm prefix cache" if held else ""
