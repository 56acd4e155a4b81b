"""``labctl bundle``: all that a host without a network lacks, in one folder."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labctl.commands.options import print_table, project, say
from labctl.commands.variables import extra
from labctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labctl.bundle import Contents
    from labctl.bundle.parts import Parts
    from labctl.inventory import Host

_MB = 1000**2
_EACH = 25  # wheels between two lines, where nobody sees a line change


def bundle(
    for_: Annotated[str | None, typer.Option("--for", metavar="HOST", help="A host that can be reached now.")] = None,
    facts: Annotated[
        Path | None,
        typer.Option("--facts", metavar="FILE", help="Facts of one that cannot (doctor --json, --probe)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="The folder (default: bundle-HOST).")
    ] = None,
    with_controller: Annotated[
        bool, typer.Option("--with-controller", help="Bring labctl itself too, for the whole line over there.")
    ] = False,
    part_size: Annotated[
        str | None, typer.Option("--part-size", metavar="SIZE", help="At most so much in a folder: 45MB, 2GiB.")
    ] = None,
    model: Annotated[
        list[Path] | None, typer.Option("--model", metavar="PATH", help="A model's folder; may be given again.")
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="TAG", help="An image of the engine here; may be given again."),
    ] = None,
    extra_vars: Annotated[
        list[str] | None,
        typer.Option("--extra-vars", "-e", metavar="NAME=VALUE", help="A variable of the roles, as for provision."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would hold; download nothing.")] = False,
) -> None:
    """Download what a host lacks for its pins. Again: only what is missing or broken.

    MB are 1,000,000 bytes, MiB 1,048,576.

    Example: labctl bundle --for gpu1 --part-size 45MB
    """
    from labctl import bundle as making
    from labctl.bundle.parts import size
    from labctl.doctor import wishes
    from labctl.inventory import Host

    if (for_ is None) == (facts is None):
        raise UsageError("name the host: --for HOST, or --facts FILE for one that cannot be reached from here")
    most = size(part_size) if part_size else None
    if for_ is not None:
        host = project().host(for_)
        name, found = for_, _look(host)
    else:
        name, found = _saved(facts or Path())
        host = Host(name=name, connection="ssh", lab_dir="", address=name)
    values = {**making.defaults(), **host.vars, **extra(extra_vars or [])}
    what = making.contents(found, wishes.of(replace(host, vars=values)), controller=with_controller)
    folder = output or Path(f"bundle-{name}")
    say(_sentence(what, found))
    if dry_run:
        _would(what, folder)
        return
    with making.held(folder, most) as (parts, broken):
        for name in broken:
            say(f"broken, and brought anew: {name}")
        more = [name for one in model or [] for name in making.model(parts, one)]
        more += [making.image(parts, tag) for tag in image or []]
        if what.python is not None:
            say(f"a Python {what.python}, which the host lacks")
            making.python(parts, what.python)
        wheels, own, _ = making.lacking(parts, what)
        with _progress(len(wheels) + len(own), len(what.wheels) + len(what.own)) as tell:
            making.fill(parts, what, str(values["vllm_torch_index"]), tell)
        dropped = making.finish(parts, what, more)
        if dropped:
            say(f"dropped, of no use any more: {', '.join(dropped[:5])}{' …' if len(dropped) > 5 else ''}")  # noqa: PLR2004
        _tell(parts, what, folder, for_)


def _look(host: Host) -> dict[str, Any]:
    from labctl.doctor import looking
    from labctl.sessions import open_session

    with open_session(host) as session:
        return looking.look(host, session)


def _saved(path: Path) -> tuple[str, dict[str, Any]]:
    """Name and facts of the one host in a file. Raises CouldNotCheckError, UsageError."""
    from labctl.doctor import looking

    found = looking.saved(path)
    if len(found) > 1:
        raise UsageError(f"{path} holds facts of {', '.join(name for name, _ in found)}: a bundle is for one host")
    return found[0]


def _sentence(what: Contents, facts: dict[str, Any]) -> str:
    plan, target = what.plan, what.target
    lacks = [name for name in plan["missing"] if name != "venv"]
    told = f"{plan['sentence']}\n{plan['why']}\n"
    told += f"Wheels for Python {target.python}, {target.arch}, glibc {target.glibc}: {len(what.wheels)}"
    if what.controller:
        told += f"; for labctl itself on Python {what.controller.python}: {len(what.own)}"
    if lacks and not plan["may_install"]:
        name = facts.get("hostname") or "the host"
        told += f"\nNot in a bundle, and missing on {name} (its system's packages): {', '.join(lacks)}"
    return told


def _would(what: Contents, folder: Path) -> None:
    from labctl.bundle.parts import listed
    from labctl.bundle.wheels import missing

    there = listed(folder)

    def has(name: str, digests: frozenset[str]) -> bool:
        return there[name].sha256 in digests

    lacks, _ = missing(what.wheels, what.target, list(there), has)
    own, _ = missing(what.own, what.controller, list(there), has) if what.controller else ([], [])
    for entry in (*lacks, *own):
        typer.echo(f"{entry.name}=={entry.version}")
    if what.python:
        typer.echo(f"Python {what.python}")
    say(f"would download {len(lacks) + len(own)} wheels into {folder}")


@contextmanager
def _progress(count: int, of: int) -> Iterator[Callable[[str, int], None]]:
    """Tell of each wheel: by one line that changes on a terminal, by a line now and then elsewhere."""
    done = size = 0
    live = sys.stderr.isatty()
    say(f"{of - count} of {of} wheels are here" + (f"; downloading {count}" if count else ""))

    def tell(name: str, length: int) -> None:
        nonlocal done, size
        done, size = done + 1, size + length
        text = f"{done} of {count} wheels, {size / _MB:,.0f} MB"
        if live:
            sys.stderr.write(f"\r\033[K{text}: {name[:60]}")
            sys.stderr.flush()
        elif done % _EACH == 0:
            say(text)

    try:
        yield tell
    finally:
        if live and done:
            sys.stderr.write("\r\033[K")
        if done:
            say(f"{done} wheels downloaded, {size / _MB:,.0f} MB")


def _tell(parts: Parts, what: Contents, folder: Path, host: str | None) -> None:
    rows = [{**row, "MB": f"{row['bytes'] / _MB:,.1f}"} for row in parts.table()]
    rows.append({"part": "total", "files": sum(row["files"] for row in rows), "MB": f"{parts.total / _MB:,.1f}"})
    print_table(rows, ["part", "files", "MB"])
    typer.echo(str(folder))
    if what.controller:
        say(f"carry {folder} over, then there:\n  sh {folder.name}/install-controller.sh")
    else:
        say(f"next:\n  labctl provision {host or 'HOST'} --bundle {folder}")
