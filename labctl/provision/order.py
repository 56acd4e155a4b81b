"""What is asked of a provision, and who watches it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked: a playbook (``provision``, ``verify`` or ``reset``), and how.

    ``check`` changes nothing; ``tags`` are role names; ``extra`` overrides variables of the roles; ``bundle`` is a
    folder here that stands in for every index. ``become_password`` is for sudo, used only where packages are missing,
    and wins over the inventory's; an empty one means that nobody can be asked, and that vLLM shall go on without what
    it can do without.
    """

    playbook: str = "provision"
    check: bool = False
    tags: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    become_password: str | None = None
    bundle: Path | None = None

    @property
    def whole(self) -> bool:
        """Whether a host for which this succeeds has the playbook's whole state."""
        return not self.check and not self.tags


class Show(Protocol):
    """Who watches; called from other threads."""

    def line(self, host: str, text: str) -> None:
        """A line about a host that is worth keeping."""

    def passing(self, host: str, text: str) -> None:
        """A line that says no more than that things go on."""

    def doing(self, host: str, task: str) -> None:
        """A host's task begins; an empty one: it has ended."""

    def tick(self) -> None:
        """Called all the while, from the main thread."""
