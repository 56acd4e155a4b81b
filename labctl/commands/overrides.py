"""Options that are laid over a lab, for every verb that starts one: what they mean for its workload."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LabArgument = Annotated[str, typer.Argument(help="A lab (see `labctl labs`), a lab file, or a run's spec.json.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the spec; start nothing.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Another model: a hub id, or a folder on the host.")]
EngineOption = Annotated[
    list[str] | None, typer.Option("--engine", metavar="KEY=VALUE", help="Engine argument; repeatable.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of the engine.")]
PortOption = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="The server's port there; 0: a free one.")
]
SampleHzOption = Annotated[
    float | None, typer.Option("--sample-hz", help="Samples of the machine a second; 0 takes none.")
]
SyntheticOption = Annotated[
    bool | None, typer.Option("--synthetic/--no-synthetic", help="Allow random weights where no hub answers.")
]
SpanOption = Annotated[
    str | None,
    typer.Option("--span", metavar="HOSTS", help="One engine over these hosts (gpu1,gpu2); the first has the server."),
]
SpanAddressOption = Annotated[
    str,
    typer.Option(
        "--span-address",
        metavar="HOST=ADDRESS,...",
        help="Private address of each host of the span; else its inventory variable span_address.",
    ),
]

# Options that have another name, or another home, than a key of the workload: option -> {kind: key}.
_KEYS = {
    "prompt": {"prompts": "prompts", "batches": "prompt"},
    "batch_sizes": {"batches": "sizes"},
    "max_tokens": {"prompts": "", "batches": "", "requests": "requests", "serve_bench": "output_tokens"},
    "concurrency": {"serve_bench": "concurrencies"},
    "request_rate": {"serve_bench": "rates"},
    "goodput": {"serve_bench": "goodput"},
    "server": {"serve_bench": "server"},
    "repeats": {"prompts": "repeats", "batches": "repeats", "serve_bench": "repeats"},
}


def over(lab: Mapping[str, Any], **given: Any) -> dict[str, Any]:
    """What ``labs.build`` takes over a lab, from options by their names (None: not given). Raises UsageError.

    ``model``, ``engine``, ``sampling``, ``workload``, ``seed``, ``sample_hz`` and ``synthetic`` pass as they are;
    ``port`` goes to the server; the others to the workload, each under the name that the lab's kind has for it.
    """
    from labctl.errors import UsageError

    work = lab.get("workload", {})
    kind = str(work.get("kind", "prompts"))
    found = {name: value for name, value in given.items() if name not in _KEYS and name != "port"}
    if given.get("port") is not None:
        if not _serves(kind):
            raise UsageError(f"--port is for a lab with a server; {lab['lab']} is of kind {kind}")
        found["server"] = {"port": given["port"]}
    for name in [name for name in _KEYS if given.get(name) not in (None, [], ())]:
        if kind not in _KEYS[name]:
            raise UsageError(
                f"{_option(name)} is for labs of kind {' or '.join(_KEYS[name])}; {lab['lab']} is of kind {kind}"
            )
        _lay(found, name, _KEYS[name][kind], given[name], work)
    _one_of_both(found, given)
    return found


def _lay(found: dict[str, Any], name: str, key: str, value: Any, work: Mapping[str, Any]) -> None:
    """Put one option where its kind has it."""
    if name == "max_tokens" and key == "requests":
        found[key] = [{**one, "max_tokens": value} for one in work.get(key, [])]
    elif name == "max_tokens" and not key:
        found["sampling"] = [*(found.get("sampling") or []), f"max_tokens={value}"]
    elif name == "server":
        # labs.build knows another ``server``: how one of its own listens.
        found["workload"] = [*(found.get("workload") or []), f"server={json.dumps(value)}"]
    elif name == "prompt" and key == "prompt":
        found[key] = _single(value)
    else:
        read = _READERS.get(name)
        found[key] = read(_option(name), value) if read else value


def _one_of_both(found: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Concurrencies take the place of a lab's rates, and the other way round. Raises UsageError for both."""
    from labctl.errors import UsageError

    if given.get("concurrency") and given.get("request_rate"):
        raise UsageError("--concurrency and --request-rate are two ways to load a server: give one of them")
    for option, other in (("concurrency", "rates"), ("request_rate", "concurrencies")):
        if given.get(option):
            found["workload"] = [f"{other}=[]", *(found.get("workload") or [])]


def _serves(kind: str) -> bool:
    from labctl.runner import workloads

    return kind in workloads.KINDS and workloads.KINDS[kind].MODE == "server"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _single(given: list[str]) -> str:
    from labctl.errors import UsageError

    if len(given) > 1:
        raise UsageError("this lab takes one --prompt, which it repeats for each batch")
    return given[0]


def whole_numbers(option: str, text: str) -> list[int]:
    """``1,4,8`` as numbers. Raises UsageError naming the option."""
    return _numbers(option, text, int, "whole numbers and commas (1,4,8)")


def rates(option: str, text: str) -> list[float]:
    """``0.5,2`` as numbers. Raises UsageError naming the option."""
    return _numbers(option, text, float, "numbers and commas (0.5,2)")


def _numbers(option: str, text: str, read: Callable[[str], Any], words: str) -> list[Any]:
    from labctl.errors import UsageError

    try:
        return [read(part.strip()) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} takes {words}, not {text!r}") from None


def goodput(option: str, texts: list[str]) -> dict[str, float]:
    """``["ttft:200", "tpot:50"]`` as {"ttft": 200.0, ...}, milliseconds, as vLLM's own flag writes it."""
    from labctl.errors import UsageError

    found: dict[str, float] = {}
    for text in " ".join(texts).split():
        name, mark, limit = text.partition(":")
        try:
            found[name.strip()] = float(limit if mark else "")
        except ValueError:
            raise UsageError(f"{option} takes NAME:MILLISECONDS (ttft:200), not {text!r}") from None
    return found


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "batch_sizes": whole_numbers, "concurrency": whole_numbers, "request_rate": rates, "goodput": goodput,
}  # fmt: skip
