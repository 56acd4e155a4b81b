"""One verdict, and commands as the user of that very host would type them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from labctl.plan.facts import get, text

if TYPE_CHECKING:
    from collections.abc import Mapping

GIB = 1024**3


class Verdict(NamedTuple):
    """One check: name, ``ok`` / ``warn`` / ``fail``, what it means, and a command that cures it (or nothing)."""

    check: str
    level: str
    meaning: str
    fix: str = ""


def number(facts: object, *path: str) -> int | None:
    """A whole number at a path, None for anything else."""
    found = get(facts, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def is_root(facts: Mapping[str, Any]) -> bool:
    """Whether the user there is root."""
    return text(facts, "user", "sudo") == "root" or number(facts, "user", "uid") == 0


def root(facts: Mapping[str, Any], command: str) -> str:
    """The command with what this user needs before it to become root."""
    if is_root(facts):
        return command
    # A line of several commands, or one that writes a file, is one word of a shell of root's own.
    plain = not set(command) & set("&;<>")
    if text(facts, "user", "sudo") == "none":
        return f"su -c {shlex.quote(command)}"
    return f"sudo {command}" if plain else f"sudo sh -c {shlex.quote(command)}"


def install(facts: Mapping[str, Any], apt: str, dnf: str) -> str:
    """The command that installs packages there; nothing where its package manager is neither of the two."""
    manager = text(facts, "package_manager")
    words = {"apt-get": f"apt-get install -y {apt}", "dnf": f"dnf install -y {dnf}"}.get(manager or "")
    return root(facts, words) if words else ""
