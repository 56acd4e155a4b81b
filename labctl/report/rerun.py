"""The command that runs a spec again."""

from __future__ import annotations

import json
import shlex
import unicodedata
from typing import TYPE_CHECKING

from labctl import labs
from labctl.runner.spec import SAMPLE_HZ
from labctl.runner.workloads import LOOPBACK, Hold, Prompts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labctl.runner.placement import Server
    from labctl.runner.spec import RunSpec

LOCAL = {LOOPBACK, "localhost", "::1"}


def rerun_command(spec: RunSpec, host: str) -> str:
    """One shell command with everything the spec says, safe to paste whatever its texts hold."""
    return " ".join(parts(spec, host))


def again(spec: RunSpec, host: str, run_id: str) -> list[str]:
    """The command for the page: by options where they say all of the spec, else by the run's own spec.json."""
    # A lab that varies something would run its whole grid.
    single = spec.lab in labs.bundled() and "vary" not in labs.read(spec.lab)
    whole = single and not spec.env and spec.launcher == "venv"
    work = spec.workload
    if whole and isinstance(work, Prompts) and (work.warmup, work.prefix) == (Prompts().warmup, ""):
        return parts(spec, host)
    own = quote(f"runs/{run_id}/spec.json")
    if isinstance(spec.workload, Hold):
        return [f"labctl up {own}", *_kept(spec.server, host)]
    if spec.span:
        pairs = (f"{name}={address}" for name, address in zip(spec.span.hosts, spec.span.addresses, strict=True))
        hosts = quote(",".join(map(str, spec.span.hosts)))
        return [f"labctl run {own}", f"--span {hosts}", f"--span-address {quote(','.join(pairs))}"]
    return [f"labctl run {own}", f"--host {quote(host)}"]


def _kept(server: Server | None, host: str) -> Iterator[str]:
    """Options of ``labctl up``; where it listened beyond its host is said again, for that must be meant."""
    yield f"--host {quote(host)}"
    if server and server.name:
        yield f"--name {quote(server.name)}"
    if server and server.address not in LOCAL:
        yield f"--expose {quote(server.address)}"


def parts(spec: RunSpec, host: str) -> list[str]:
    """Give the command as pieces that belong on one line each: the verb, then each option with its value."""
    lab = quote(spec.lab)
    dashed = spec.lab.startswith("-")  # a name that would read as an option goes behind "--"
    options = [f"{name} {quote(value)}" for name, value in (("--host", host), *_options(spec))]
    flags = [] if spec.synthetic else ["--no-synthetic"]
    if dashed:
        return ["labctl run", *options, *flags, f"-- {lab}"]
    return [f"labctl run {lab}", *options, *flags]


def _options(spec: RunSpec) -> Iterator[tuple[str, str]]:
    yield "--model", spec.model
    for option, arguments in (("--engine", spec.engine), ("--sampling", spec.sampling)):
        for key, value in sorted(arguments.items()):
            yield option, f"{key}={value_text(value)}"
    prompts = spec.workload if isinstance(spec.workload, Prompts) else None
    for prompt in prompts.prompts if prompts else ():
        yield "--prompt", prompt
    yield "--seed", str(spec.seed)
    if prompts:
        yield "--repeats", str(prompts.repeats)
    if spec.sample_hz != SAMPLE_HZ:
        yield "--sample-hz", f"{spec.sample_hz:g}"


def value_text(value: object) -> str:
    """VALUE of KEY=VALUE: a string as it is (the argument tables know the type), anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def quote(word: object) -> str:
    """One shell word; with ``$'…'`` where it holds control codes, hidden signs or line breaks."""
    text = word if isinstance(word, str) else json.dumps(word, ensure_ascii=False, default=str)
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_escape, text)) + "'"


def _escape(sign: str) -> str:
    if sign in "\\'":
        return f"\\{sign}"
    if unicodedata.category(sign) == "Cs":  # half a character: no shell can pass it on
        return "\ufffd"
    return sign if sign.isprintable() else sign.encode("unicode_escape").decode()
