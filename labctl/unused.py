"""Settings that a workload would leave unused: refused, for whoever gives one believes that it was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.errors import UsageError
from labctl.runner.workloads import ServeBench

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labctl.runner.spec import RunSpec

# What makes a server of one's own, by its option.
_OWN = {"model": "--model", "engine": "--engine", "server": "--port", "synthetic": "--synthetic"}
_LENGTHS = {"serve_bench": "the lengths are its workload.input_tokens and workload.output_tokens (--max-tokens)",
            "arrivals": "the lengths are its workload.prompt_tokens and workload.output_tokens"}  # fmt: skip


def check(asked: RunSpec, over: Mapping[str, Any]) -> None:
    """Raise UsageError for what the kind of workload has no use for; ``over``: as ``labs.build`` takes it."""
    work = asked.workload
    if isinstance(work, ServeBench) and work.server:
        given = [option for name, option in _OWN.items() if over.get(name) not in (None, [], ())]
        if given:
            raise UsageError(
                f"{', '.join(given)} would start another server: {work.server} is measured as it runs, "
                "so leave out that or the server"
            )
    taken: tuple[str, ...] | None = getattr(work, "SAMPLING", None)
    wrong = [] if taken is None else [name for name in asked.sampling if name not in taken]
    if wrong:
        what = f"it takes {', '.join(taken)}" if taken else "it takes none"
        lengths = f"; {_LENGTHS[work.kind]}" if work.kind in _LENGTHS else ""
        raise UsageError(
            f"a workload of kind {work.kind} has no use for the sampling argument {', '.join(wrong)}: {what}{lengths}"
        )
