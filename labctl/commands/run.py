"""``labctl run``: a lab on a host, from the spec to the report."""

from __future__ import annotations

import json as jsonlib
from typing import TYPE_CHECKING, Annotated

import typer

from labctl.commands.options import HostOption, JsonOption, PatienceOption, print_json, project
from labctl.commands.overrides import (
    DryRunOption,
    EngineOption,
    LabArgument,
    ModelOption,
    PortOption,
    SampleHzOption,
    SeedOption,
    SpanAddressOption,
    SpanOption,
    SyntheticOption,
    over,
)

if TYPE_CHECKING:
    from labctl.inventory import Host
    from labctl.runner.spec import RunSpec


def run(
    lab: LabArgument,
    host: HostOption = "local",
    model: ModelOption = None,
    engine: EngineOption = None,
    sampling: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Sampling argument; repeatable.")
    ] = None,
    workload: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Any setting of the lab's workload; repeatable.")
    ] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt instead of the lab's; repeatable.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens that each answer may have.")] = None,
    batch_sizes: Annotated[str | None, typer.Option(metavar="1,4,8", help="Batch sizes (bench).")] = None,
    concurrency: Annotated[
        str | None, typer.Option(metavar="1,8", help="Requests at a time, each a point (bench-serve).")
    ] = None,
    request_rate: Annotated[
        str | None, typer.Option(metavar="0.5,2", help="Requests a second, each a point (bench-serve).")
    ] = None,
    goodput: Annotated[
        list[str] | None,
        typer.Option(metavar="ttft:200", help="Limit in ms on ttft, tpot or e2el (bench-serve); repeatable."),
    ] = None,
    server: Annotated[
        str | None, typer.Option(metavar="NAME", help="Measure this running server (`labctl ps`), not one of its own.")
    ] = None,
    port: PortOption = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=V1,V2", help="Run a point for each value (engine.max_num_seqs=16,64); repeatable."),
    ] = None,
    span: SpanOption = None,
    span_address: SpanAddressOption = "",
    seed: SeedOption = None,
    repeats: Annotated[int | None, typer.Option(help="Measured passes after the warm-up.")] = None,
    sample_hz: SampleHzOption = None,
    synthetic: SyntheticOption = None,
    detach: Annotated[bool, typer.Option("--detach", help="Start the run and return.")] = False,
    dry_run: DryRunOption = False,
    patience: PatienceOption = 60.0,
    json: JsonOption = False,
) -> None:
    """Run a lab on one host or many at once, fetch what it left, and build the report of each.

    With --vary (or a lab that varies something) the points of a grid run one after another, as one study; impossible
    points are recorded and do not end it.

    With --span the hosts form one engine (labs with a server): vLLM's own multi-node engine over private addresses.

    Exit status: 0 all ok, 1 a run failed (it is recorded; of a study: no point is ok), else the greatest of the
    hosts' codes.

    Example: labctl run offline --host local --engine enforce_eager=true
    """
    from labctl import drivers, grids, labs
    from labctl.commands import span as spanning
    from labctl.commands import vary as grid
    from labctl.commands.fitting import fit
    from labctl.commands.starting import Start, start
    from labctl.errors import UsageError
    from labctl.launchers.venv import forwarded

    place, words, env = project(), labs.read(lab), forwarded()
    targets = spanning.targets(place, span, host) if span else place.hosts(host)
    asked = over(
        words, model=model, engine=engine, sampling=sampling, workload=workload, prompt=prompt, max_tokens=max_tokens,
        batch_sizes=batch_sizes, concurrency=concurrency, request_rate=request_rate, goodput=goodput, server=server,
        port=port, seed=seed, repeats=repeats, sample_hz=sample_hz, synthetic=synthetic,
    )  # fmt: skip

    varied = grids.axes(words, vary or ())
    if varied:
        if span:
            raise UsageError("a study is of runs on one host each: leave out --span or --vary")
        if detach:
            raise UsageError("a study is led from here, point by point: --detach cannot be. Ctrl-C pauses it")
        found = grid.plans(words, targets, varied, over=asked, env=env)
        if dry_run:
            grid.dry(found, json=json)
        else:
            grid.begin(place, found, targets, patience=patience, json=json)
        return

    def build(_target: Host, vllm: str) -> RunSpec:
        return labs.build(words, vllm=vllm, env=env, **asked)

    # Checked before any host is asked; what a host turns out to have (`auto` may mean an older one) is checked again.
    specs = {one.name: build(one, drivers.version(one.vars.get("vllm_version"))) for one in targets}
    private = spanning.addresses(targets, span_address, specs) if span else ()
    if dry_run:
        _dry(spanning.planned(targets, specs, private) if span else specs)
    elif span:
        look = fit(words, len(targets))
        joint = spanning.SpanStart(place.runs_dir, specs, build, detach=detach, patience=patience, look=look)
        spanning.start(joint.over(targets, private), json=json)
    else:
        what = Start(place.runs_dir, specs, build, detach=detach, patience=patience, look=fit(words))
        start(what, targets, json=json)


def _dry(specs: dict[str, RunSpec]) -> None:
    if len(specs) == 1:
        [spec] = specs.values()
        typer.echo(spec.to_json(), nl=False)
    else:
        print_json({name: jsonlib.loads(spec.to_json()) for name, spec in specs.items()})
