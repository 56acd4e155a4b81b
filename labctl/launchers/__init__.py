"""Launchers: how the runner is started on a Host. One Protocol, one dict."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol

from labctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labctl.inventory import Host
    from labctl.runner.spec import RunSpec
    from labctl.sessions import Session


class Launcher(Protocol):
    """Starts and controls runs on one host; it knows nothing of modes."""

    def ready(self) -> None:
        """Raise NotProvisionedError, with the command that cures it, where no run could be started."""

    def vllm(self) -> str | None:
        """The version of vLLM that runs would use there; None where the host does not say."""

    def variant(self) -> str | None:
        """For which devices the host's vLLM was built: cpu or cuda; None where the host does not say."""

    def new_id(self, spec: RunSpec) -> str:
        """Give a run id that the host has not used."""

    def launch(self, spec: RunSpec, run_id: str, secrets: Mapping[str, str] | None = None) -> None:
        """Make the run directory on the host, send the spec and start the detached runner there.

        ``secrets``: variables for this run, beside those of the shell; they travel in its 0600 file.
        """

    def control(self, run_id: str, verb: str) -> None:
        """``stop`` or ``seal`` a run. Raises UnreadableRunError where the host could not."""


# RunSpec.launcher -> (module, class).
LAUNCHERS: dict[str, tuple[str, str]] = {"venv": ("labctl.launchers.venv", "VenvLauncher")}


def launcher(kind: str, host: Host, session: Session) -> Launcher:
    """The launcher of that kind for a host. Raises UsageError for an unknown kind."""
    if kind not in LAUNCHERS:
        raise UsageError(f"launcher {kind!r} is unknown; known: {', '.join(LAUNCHERS)}")
    module, name = LAUNCHERS[kind]
    made: Launcher = getattr(importlib.import_module(module), name)(host, session)
    return made
