"""``labctl run``: a lab on a host, from the spec to the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from labctl.commands.options import HostOption, Project, project, say
from labctl.errors import EXIT_DETACHED, LaunchError

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
) -> None:
    """Run a lab on a host, fetch what it left, and build the report.

    Example: labctl run offline --host local --engine enforce_eager=true
    """
    from labctl import labs
    from labctl.launchers.venv import forwarded

    place = project()
    target = place.host(host)
    version = str(target.vars.get("vllm_version") or labs.newest())
    spec = labs.build(
        labs.read(lab),
        vllm=version,
        env=forwarded(),
        model=model,
        engine=engine,
        sampling=sampling,
        prompts=prompt,
        seed=seed,
        repeats=repeats,
        sample_hz=sample_hz,
        synthetic=synthetic,
    )
    if dry_run:
        typer.echo(spec.to_json(), nl=False)
        return
    start(place, target, spec, detach=detach)


def start(place: Project, target: Host, spec: RunSpec, *, detach: bool) -> None:
    """Start a spec on a host; follow it to its report unless ``detach``."""
    from labctl import runs
    from labctl.commands.remote import Line, follow_to_end
    from labctl.launchers import launcher
    from labctl.sessions import open_session

    with open_session(target) as session:
        there = launcher(spec.launcher, target, session)
        there.ready()
        run_id = there.new_id(spec)
        remote_dir = f"{target.lab_dir}/runs/{run_id}"
        # The laptop's note of the run comes first: killed at any later moment, labctl can attach to it again.
        path = runs.create(place.runs_dir, run_id, target.name, remote_dir, spec)
        try:
            there.launch(spec, run_id)
        except LaunchError:
            runs.forget(path)
            raise
        except KeyboardInterrupt:
            say(f"interrupted while the run was being started; what became of it:\n  labctl fetch {run_id}")
            raise typer.Exit(EXIT_DETACHED) from None
        if detach:
            say(f"started; to see it:\n  labctl attach {run_id}")
            typer.echo(run_id)
        else:
            follow_to_end(Line(session, there, remote_dir, path))
