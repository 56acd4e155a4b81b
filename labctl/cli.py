"""The typer app: names the verbs, and is the only place that catches LabError and exits."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

from labctl import __version__
from labctl.commands import (
    ask,
    attach,
    bundle,
    doctor,
    down,
    fetch,
    hosts,
    import_,
    labs,
    logs,
    params,
    provision,
    ps,
    report,
    run,
    runs,
    show,
    stop,
    study,
    tunnel,
    up,
    verify,
)
from labctl.commands.options import complain
from labctl.errors import EXIT_DETACHED, EXIT_IO, EXIT_OK, EXIT_RUN_FAILED, LabError

# Rich help costs more time than all the rest of `labctl --help` together.
app = typer.Typer(
    name="labctl",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A reproducible lab for vLLM: provision a host, run vLLM there, pull the evidence back, build the report.",
)

for verb in (
    labs.labs,
    doctor.doctor,
    provision.provision,
    run.run,
    attach.attach,
    logs.logs,
    stop.stop,
    fetch.fetch,
    runs.runs,
    show.show,
    verify.verify,
    up.up,
    ps.ps,
    ask.ask,
    tunnel.tunnel,
    down.down,
    params.params,
    study.studies,
    study.study,
    report.report,
    bundle.bundle,
):
    app.command()(verb)
app.command(name="import")(import_.import_)
app.add_typer(hosts.app, name="hosts")


@app.callback(invoke_without_command=True)
def version(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Print the version where asked."""
    if version:
        typer.echo(f"labctl {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a sign gets its escape instead of a traceback.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except LabError as error:
        complain(str(error), error.next_command)
        leave(error.exit_code)
    except SystemExit as ended:
        leave(ended.code if isinstance(ended.code, int) else EXIT_RUN_FAILED if ended.code else EXIT_OK)
    except KeyboardInterrupt:
        leave(EXIT_DETACHED)
    except BrokenPipeError:
        raise
    except OSError as error:
        complain(f"{error.filename or 'this machine'}: {error.strerror or error}", "")
        leave(EXIT_IO)


def leave(code: int) -> NoReturn:
    """End at once: threads that plot or wait for a host would crash Python while it takes itself apart."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
