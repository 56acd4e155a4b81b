"""``labctl run``: a lab on a host, from the spec to the report."""

from __future__ import annotations

import json as jsonlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labctl.commands.options import HostOption, JsonOption, PatienceOption, print_json, project

if TYPE_CHECKING:
    from labctl.inventory import Host
    from labctl.runner.spec import RunSpec


def run(
    lab: Annotated[str, typer.Argument(help="A lab (see `labctl labs`), a lab file, or a run's spec.json.")],
    host: HostOption = "local",
    model: Annotated[str | None, typer.Option(help="Another model: a hub id, or a folder on the host.")] = None,
    engine: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Engine argument; repeatable.")] = None,
    sampling: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Sampling argument; repeatable.")
    ] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt instead of the lab's; repeatable.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the engine.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Measured passes after the warm-up.")] = None,
    sample_hz: Annotated[float | None, typer.Option(help="Samples of the machine a second; 0 takes none.")] = None,
    synthetic: Annotated[
        bool | None,
        typer.Option("--synthetic/--no-synthetic", help="Allow random weights where no hub answers."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Start the run and return.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the spec; start nothing.")] = False,
    patience: PatienceOption = 60.0,
    json: JsonOption = False,
) -> None:
    """Run a lab on one host or many at once, fetch what it left, and build the report of each.

    Exit status: 0 all ok, 1 a run failed (it is recorded), else the greatest of the hosts' codes.

    Example: labctl run offline --host local --engine enforce_eager=true
    """
    from labctl import drivers, labs
    from labctl.commands.starting import Start, start
    from labctl.launchers.venv import forwarded

    place, words, env = project(), labs.read(lab), forwarded()
    targets = place.hosts(host)
    asked: dict[str, Any] = {"model": model, "engine": engine, "sampling": sampling, "prompts": prompt, "seed": seed}
    asked |= {"repeats": repeats, "sample_hz": sample_hz, "synthetic": synthetic}

    def build(_target: Host, vllm: str) -> RunSpec:
        return labs.build(words, vllm=vllm, env=env, **asked)

    # Checked before any host is asked; what a host turns out to have (`auto` may mean an older one) is checked again.
    specs = {one.name: build(one, drivers.version(one.vars.get("vllm_version"))) for one in targets}
    if dry_run:
        _dry(specs)
    else:
        start(Start(place.runs_dir, specs, build, detach=detach, patience=patience), targets, json=json)


def _dry(specs: dict[str, RunSpec]) -> None:
    if len(specs) == 1:
        [spec] = specs.values()
        typer.echo(spec.to_json(), nl=False)
    else:
        print_json({name: jsonlib.loads(spec.to_json()) for name, spec in specs.items()})
