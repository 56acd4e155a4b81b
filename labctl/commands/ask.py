"""``labctl ask``: one question to a kept server, through a tunnel of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from labctl.commands.kept import ServerHostOption, ServerOption
from labctl.commands.options import say

if TYPE_CHECKING:
    from labctl.asking import Question, RefusedError
    from labctl.errors import ServerError
    from labctl.follow import Line
    from labctl.runner.serving import Endpoint
    from labctl.servers import Kept


def ask(
    text: Annotated[str, typer.Argument(help="The question, or what is to be completed.")],
    name: ServerOption = None,
    host: ServerHostOption = None,
    chat: Annotated[
        bool | None, typer.Option("--chat/--completion", help="Default: chat where the model has a chat template.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream/--no-stream", help="Print each token as it comes.")] = True,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of the answer at most.")] = 256,
    temperature: Annotated[float | None, typer.Option(min=0, help="Default: the model's own.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The name of a model there (default: the one it was up for).")
    ] = None,
) -> None:
    """Ask a kept server, and print its answer as it comes; how long it took goes to stderr.

    Example: labctl ask "What is PagedAttention?"
    """
    from labctl.asking import BrokeOffError, Question, RefusedError
    from labctl.commands.kept import SYNTHETIC, key_of, need_ready, server_line
    from labctl.errors import ServerError
    from labctl.runner.serving import Endpoint
    from labctl.sessions.relay import LOOPBACK

    with server_line(name, host) as (where, kept):
        need_ready(kept)
        if kept.synthetic:
            say(SYNTHETIC)
        asked = Question(text, kept.chat if chat is None else chat, max_tokens, temperature)
        key = key_of(where, kept)
        try:
            with where.session.forward(kept.port or 0, kept.there) as port:
                _print(Endpoint(LOOPBACK, port, model or kept.model, key, 0), asked, stream=stream)
        except BrokeOffError as error:
            raise _now(where, kept, f"the answer broke off ({error})") from error
        except RefusedError as error:
            raise _refused(error, kept, key) from error
        except ServerError as error:
            raise _now(where, kept, str(error)) from error


def _print(endpoint: Endpoint, asked: Question, *, stream: bool) -> None:
    from labctl import asking
    from labctl.report.text import clean

    first, last, text = None, 0.0, ""
    try:
        for last, text in asking.answer(endpoint, asked, stream=stream):
            first = last if first is None else first
            # All of it, also where each sign is a hidden one and is shown by its number, ⟨U+E0001⟩.
            sys.stdout.write(clean(text, 9 * len(text)))
            sys.stdout.flush()
    finally:
        if text and not text.endswith("\n"):
            typer.echo()
    many = f"{asked.tokens} tokens" if asked.tokens is not None else "answered"
    if not stream or first is None:
        say(f"{many} in {last:.3f} s")
        return
    rest = (asked.tokens or 1) - 1
    rate = f", then {rest / (last - first):.1f} a second" if rest and last > first else ""
    say(f"{many}, the first after {first:.3f} s{rate}")


def _refused(error: RefusedError, kept: Kept, key: str) -> ServerError:
    """What the server had against the question, and what cures it."""
    from labctl import api_keys, asking
    from labctl.commands.options import project
    from labctl.errors import ServerError

    what = f"{kept.name} on {kept.host}: {error}"
    if error.status in asking.DENIED and key:
        file = api_keys.place(project().folder, kept.host, kept.run)
        # Without it, the host's own copy is fetched.
        return ServerError(f"{what} in {file}", f"rm {file}")
    if error.status == asking.NO_SUCH:
        serves = "" if kept.model in what else f"; it serves {kept.model}"
        return ServerError(f"{what}{serves}", f"labctl ps --host {kept.host}")
    return ServerError(what, f"labctl logs {kept.run} --host {kept.host} -n 20")


def _now(where: Line, kept: Kept, what: str) -> ServerError:
    """What went wrong, with what the host says of its server now."""
    from labctl import host_servers
    from labctl.errors import LabError, ServerError
    from labctl.servers import READY

    try:
        now = host_servers.look(where.session, kept.host, kept.remote_dir) or kept
    except LabError:
        now = kept
    state = "" if now.state == READY else f"; it is {now.words} now"
    return ServerError(f"{kept.name} on {kept.host}: {what}{state}", f"labctl ps --host {kept.host}")
