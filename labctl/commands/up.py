"""``labctl up``: a server that stays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labctl.commands.options import HostOption, PatienceOption, project, say
from labctl.commands.overrides import (
    DryRunOption,
    EngineOption,
    LabArgument,
    ModelOption,
    PortOption,
    SampleHzOption,
    SyntheticOption,
)
from labctl.errors import ServerError, UsageError

if TYPE_CHECKING:
    from labctl.commands.board import Board
    from labctl.fleet import Leave
    from labctl.follow import Line
    from labctl.inventory import Host
    from labctl.runner.spec import RunSpec
    from labctl.servers import Kept

# A server stays for days; its machine is not sampled five times a second meanwhile.
_HZ = 1.0


def up(
    lab: LabArgument = "server",
    host: HostOption = "local",
    name: Annotated[str | None, typer.Option(help="What it is called (default: the lab's name).")] = None,
    model: ModelOption = None,
    engine: EngineOption = None,
    port: PortOption = None,
    expose: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Bind this address, not 127.0.0.1; then it has an API key.")
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option("--api-key-file", metavar="FILE", help="The API key (default with --expose: made).")
    ] = None,
    restarts: Annotated[int, typer.Option(min=0, help="How often at most it is started anew where it dies.")] = 3,
    dev: Annotated[bool, typer.Option("--dev", help="vLLM's dev mode (it can empty caches); 127.0.0.1 only.")] = False,
    synthetic: SyntheticOption = None,
    sample_hz: SampleHzOption = _HZ,
    detach: Annotated[bool, typer.Option("--detach", help="Start it and return.")] = False,
    dry_run: DryRunOption = False,
    patience: PatienceOption = 60.0,
) -> None:
    """Start a server on a host and keep it up; it holds the GPUs until `labctl down`.

    Exit status: 0 it is ready (or was left loading by --detach), 1 it failed (that is recorded).

    Example: labctl up server --host local --engine enforce_eager=true
    """
    from labctl import api_keys, drivers, labs, servers
    from labctl.commands.kept import asked_name, running_name
    from labctl.commands.starting import Start, outcomes_of
    from labctl.launchers.venv import forwarded
    from labctl.runner import api_key

    place, words, env = project(), labs.read(lab), forwarded()
    target = _one(place.hosts(host))
    kind = (words.get("workload") or {}).get("kind", "prompts")
    if kind not in {"requests", servers.KIND}:
        say(f"of the lab {words['lab']} the model and the engine alone are kept up; what it measures is `labctl run`'s")
    words |= {"mode": "server", "workload": {"kind": servers.KIND}, "sampling": {}}
    server: dict[str, Any] = {"name": name or asked_name(str(words["lab"])), "restarts": restarts}
    given = {"port": port, "address": expose, "dev": dev or None}
    server |= {key: value for key, value in given.items() if value is not None}
    over = {"model": model, "engine": engine, "server": server, "synthetic": synthetic, "sample_hz": sample_hz}

    def build(_target: Host, vllm: str) -> RunSpec:
        return labs.build(words, vllm=vllm, env=env, **over)

    asked = build(target, drivers.version(target.vars.get("vllm_version")))
    exposed = _need_flag(asked, expose)
    if dry_run:
        typer.echo(asked.to_json(), nl=False)
        return
    key = api_keys.of_file(api_key_file) if api_key_file else api_keys.made() if exposed else ""
    noted: list[Path] = []

    def note(path: Path) -> None:
        # Kept before anything is started: whatever happens then, the server can be asked.
        noted.append(path)
        if key:
            api_keys.keep(place.folder, target.name, path.name, key)

    what = Start(
        place.runs_dir,
        {target.name: asked},
        build,
        detach=detach,
        patience=patience,
        note=note,
        secrets={api_key.VARIABLE: key} if key else {},
        look=lambda line: running_name(asked, line),
        go_on=_until_ready,
    )
    [outcome] = outcomes_of(what, [target])
    for path in noted:
        if not path.exists():  # nothing was started
            api_keys.forget(place.folder, target.name, path.name)
    api_keys.sweep(place.folder, place.runs_dir)
    path = outcome.result()
    if api_keys.kept(place.folder, target.name, path.name) and not api_key_file:
        kept_in = api_keys.place(place.folder, target.name, path.name)
        say(f"its API key, shown this once and kept in {kept_in} (and by the host while it is up):")
        typer.echo(key)
    _told(path, detached=detach)


def _one(targets: list[Host]) -> Host:
    if len(targets) != 1:
        raise UsageError(f"up starts one server, on one host: these are {len(targets)}")
    return targets[0]


def _need_flag(asked: RunSpec, expose: str | None) -> bool:
    """Whether the server is reached from elsewhere. Raises UsageError where a lab file alone would have it so."""
    from labctl.runner.serving import is_loopback

    address = asked.server.address if asked.server else ""
    exposed = not is_loopback(address)
    if exposed and expose is None:
        raise UsageError(f"the lab binds {address}, which others reach: say so by --expose {address}")
    return exposed


def _until_ready(where: Line, board: Board, leave: Leave, patience: float) -> None:
    """Follow a server until it is ready; one that ended before comes home."""
    from labctl import follow, runs, servers
    from labctl.commands.remote import page_of, telling

    def show(phase: str) -> None:
        leave.check()
        board.state(where.host.name, phase)

    def enough(_: object) -> bool:
        kept = servers.of_path(where.path)
        return kept is not None and kept.state == servers.READY and (not kept.keyed or kept.open_routes is not None)

    board.run(where.host.name, where.path.name)
    with telling(where.path):
        ready = follow.until(where, show, enough, patience)
    if not ready:
        page_of(where.path)
    board.done(where.host.name, "ready" if ready else runs.load(where.path).record.status)


def _told(path: Path, *, detached: bool) -> None:
    """Say what is up and how to reach it; exit 1 where it failed."""
    from labctl import servers
    from labctl.commands.ending import finish
    from labctl.commands.kept import SYNTHETIC
    from labctl.report.text import line
    from labctl.runner import rundir
    from labctl.runner.serving import is_loopback

    if (path / rundir.SUMS).is_file():
        finish(path)
        return
    if detached:
        say("started; to see whether it is ready:\n  labctl ps")
        typer.echo(path.name)
        return
    kept = servers.of_path(path)
    if kept is None:
        raise ServerError(f"{path.name} does not say what it serves", f"labctl logs {path.name}")
    typer.echo(f"server {kept.name} is {kept.words} on {kept.host}: {line(kept.model)} at {kept.address}:{kept.port}")
    typer.echo(f"run: {kept.run}; {_supervision(kept)}; started anew {kept.most} times at most where it dies")
    if kept.synthetic:
        typer.echo(SYNTHETIC)
    if not is_loopback(kept.address):
        _warn(kept)
    which = f"{kept.name} --host {kept.host}"
    say(f'to use it:\n  labctl ask "What is PagedAttention?" --name {which}\n  labctl tunnel {which}')
    say(f"to end it:\n  labctl down {which}")


def _supervision(kept: Kept) -> str:
    from labctl.report.text import line

    if kept.unit:
        return f"supervised as systemd's {line(kept.unit)}"
    return f"supervised by labctl's runner ({line(kept.why_no_unit)})"


def _warn(kept: Kept) -> None:
    """What a server that others reach means."""
    from labctl.report.text import line
    from labctl.runner.open_routes import RUN_THE_MODEL

    say(
        f"{kept.address}:{kept.port} speaks HTTP, which is clear text: anyone on the way can read the texts and the key"
    )
    if kept.open_routes:
        say(f"without the key these routes answer all the same: {line(', '.join(kept.open_routes), 2000)}")
        using = [path for path in kept.open_routes if path in RUN_THE_MODEL]
        if using:
            say(f"of these, {line(', '.join(using))} run the model: who reaches that port uses it without the key")
    elif kept.open_routes is not None:
        say("no route answers without the key")
