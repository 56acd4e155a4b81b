"""Verdicts about the lab itself: what would be installed here, and whether what is installed is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl import runner_wheel
from labctl.doctor.verdict import GIB, Verdict
from labctl.plan.facts import get, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Facts = Mapping[str, Any]
    Plan = Mapping[str, Any] | None

# GiB for an environment and its cache, no model: as the role preflight asks for (its defaults).
_ROOM = {"cpu": 6, "cuda": 12, "existing": 5}
_ROOM_FOR_RUNS = 1


def card(facts: Facts) -> Mapping[str, Any] | None:
    """lab.json, where the host has one."""
    found = get(facts, "lab", "card")
    return found if isinstance(found, dict) else None


def variant(facts: Facts, plan: Plan) -> str:
    """The variant of vLLM here: the lab's own, else the one that would be installed."""
    return text(card(facts), "variant") or text(plan, "variant") or "cpu"


def room(facts: Facts, plan: Plan) -> int:
    """Bytes that must be free where the lab lies."""
    if card(facts) is not None:
        return _ROOM_FOR_RUNS * GIB
    mode = text(plan, "mode")
    return _ROOM["existing" if mode == "existing" else variant(facts, plan)] * GIB


def verdicts(facts: Facts, host: str, plan: Plan, why_not: str) -> Iterator[Verdict]:
    """``plan``: what provisioning would do; None, and ``why_not`` in a sentence, where no plan fits."""
    if plan is None:
        # The sentence names what would have to change: a wish in the inventory, the driver, or the host.
        yield Verdict("plan", "fail", why_not)
    else:
        yield Verdict("plan", "ok", _intent(plan))
    yield _provisioned(facts, host)


def _intent(plan: Mapping[str, Any]) -> str:
    python = f"Python {plan['python']}" + (f" ({plan['mode']})" if plan["mode"] != "uv" else "")
    more = [f"driver: {plan['driver']['action']}"] if plan["driver"]["action"] == "install" else []
    more += ["Docker: install"] if plan["docker"]["action"] == "install" else []
    more += [f"system lacks {', '.join(plan['missing'])}"] if plan["missing"] else []
    return "; ".join([f"vLLM {plan['vllm']} ({plan['variant']}), torch {plan['torch']}, {python}", *more, plan["why"]])


def _provisioned(facts: Facts, host: str) -> Verdict:
    cure = f"labctl provision {host}"
    held = card(facts)
    if held is None:
        return Verdict("provisioned", "fail", "no lab environment here yet", cure)
    if held.get("runner") != runner_wheel.version():
        return Verdict("provisioned", "fail", f"the runner is {held.get('runner')}: another version", cure)
    if get(facts, "lab", "whole") is not True:
        return Verdict("provisioned", "fail", f"the environment is gone: {held.get('python')}", cure)
    told = f"vLLM {held.get('vllm')} ({held.get('variant')}), runner {held.get('runner')}"
    return Verdict("provisioned", "ok", told)
