"""What a host is, and what is wrong with it for a lab: verdicts over the facts of the one probe."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from labctl import plan
from labctl.doctor import gpu, lab, machine, network
from labctl.doctor.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Verdict", "judge", "verdicts"]


def verdicts(facts: Mapping[str, Any], host: str, wishes: Mapping[str, Any] | None = None) -> Iterator[Verdict]:
    """Every check over the facts; an unknown fact is a warning, never a guess. Pure.

    ``wishes``: what the inventory wants for the host (plan.make). ``host``: its name, for the commands that cure.
    """
    found, why_not = _plan(facts, wishes or {})
    variant = lab.variant(facts, found)
    yield from chain(
        machine.verdicts(facts, host, variant, lab.room(facts, found)),
        gpu.verdicts(facts, host, found),
        network.verdicts(facts, host),
        lab.verdicts(facts, host, found, why_not),
    )


def judge(facts: Mapping[str, Any], host: str, wishes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What ``labctl doctor --json`` prints: {"host", "kind", "sentence", "failures", "checks", "plan", "facts"}."""
    found = list(verdicts(facts, host, wishes))
    failures = [verdict.check for verdict in found if verdict.level == "fail"]
    checks = [verdict._asdict() for verdict in found]
    planned, _ = _plan(facts, wishes or {})
    return {"host": host, **plan.kind(facts), "failures": failures, "checks": checks, "plan": planned, "facts": facts}


def _plan(facts: Mapping[str, Any], wishes: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    try:
        return plan.make(facts, wishes), ""
    except plan.Impossible as error:
        return None, str(error)
