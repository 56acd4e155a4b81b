"""How the environment is made and on which Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from labctl.plan.builds import OLD_PYTHON
from labctl.plan.facts import Impossible, rows, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labctl.plan.builds import Choice
    from labctl.plan.facts import Wishes


class Ground(NamedTuple):
    """Mode, version, and the interpreter to build on; `row` None: nothing here fits, uv or conda brings one."""

    mode: str
    python: str
    row: Mapping[str, object] | None

    @property
    def base(self) -> str | None:
        """Path of the interpreter: a venv that holds PyTorch is taken as itself, any other by what it is based on."""
        if self.row is None:
            return None
        if self.mode == "existing":
            return text(self.row, "executable")
        return text(self.row, "base") or text(self.row, "executable")


def ground(facts: Mapping[str, object], asked: Wishes, choice: Choice) -> Ground:
    """Raises Impossible where the mode that was asked for has nothing to stand on."""
    if choice.existing is not None:
        return Ground("existing", str(choice.existing["version"]), choice.existing)
    mode = "uv" if asked.python_env_mode == "auto" else asked.python_env_mode
    allowed = choice.lock.pythons if asked.vllm_python == "auto" else (asked.vllm_python,)
    if mode == "conda":
        return Ground(mode, allowed[0], None)
    row = best(facts, allowed, venv=mode == "venv")
    if row is None and mode == "venv":
        wanted = " or ".join(allowed)
        raise Impossible(
            f"python_env_mode is venv, but this host has no whole Python {wanted} with venv: set it to uv, which "
            f"brings a Python of its own.{_old(facts)}"
        )
    return Ground(mode, str(row["version"]) if row else allowed[0], row)


def best(facts: Mapping[str, object], allowed: tuple[str, ...], *, venv: bool) -> Mapping[str, object] | None:
    """The first whole Python of the allowed versions, one with headers before one without."""
    found = [
        row
        for row in rows(facts, "pythons")
        if row.get("version") in allowed
        and row.get("whole")
        and text(row, "executable")
        and (row.get("venv") or not venv)
    ]
    return min(found, key=lambda row: (not row.get("headers"), allowed.index(str(row["version"]))), default=None)


def _old(facts: Mapping[str, object]) -> str:
    return f" Mind: {OLD_PYTHON}." if any(row.get("version") == "3.10" for row in rows(facts, "pythons")) else ""
