"""From the arguments of an engine to the words that ``vllm serve`` takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labctl.runner.placement import Span

# Plain switches without a --no- twin, off by default: False is told by leaving them out
# (vllm/engine/arg_utils.py, 0.32.0: action="store_true").
_SWITCHES = {"disable_log_stats", "aggregate_engine_logging", "data_parallel_multi_port_external_lb"}


def flags(engine: Mapping[str, Any]) -> list[str]:
    """``engine`` (names of EngineArgs, ``model`` included) as the words after ``vllm serve``.

    The model comes first; None is left out; True and False are ``--x`` and ``--no-x``; a list is several words; a
    table is JSON. Checked against the parser of the installed vLLM in tests/e2e/test_serve_args.py.
    """
    words = [str(engine["model"])] if engine.get("model") is not None else []
    for name in sorted(set(engine) - {"model"}):
        words += _flag(name, engine[name])
    return words


def _flag(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if value is None or (value is False and name in _SWITCHES):
        return []
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [flag, *map(str, sorted(value) if isinstance(value, (set, frozenset)) else value)] if value else []
    # One word: a value that begins with a dash is no flag then.
    return [f"{flag}={json.dumps(value) if isinstance(value, dict) else value}"]


def span_flags(span: Span | None) -> list[str]:
    """What an engine over several hosts needs on this one; nothing where there is no span.

    vllm/engine/arg_utils.py, ParallelConfig (0.32.0): only the node of rank 0 has an API server.
    """
    if span is None:
        return []
    words = [f"--nnodes={len(span.hosts)}", f"--node-rank={span.rank}"]
    words += [f"--master-addr={span.addresses[0]}", f"--master-port={span.port}"]
    return words + (["--headless"] if span.rank else [])
