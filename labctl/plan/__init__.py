"""Every decision about a host, from its facts and the wishes for it: pure, each with its reason in a sentence.

doctor says what would be done, bundle what is lacking, and the playbook does it: all three ask here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl import drivers
from labctl.plan import builds, gpus, pythons, system
from labctl.plan.facts import Impossible, get, text, wishes

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Impossible", "kind", "lacking", "make"]


def make(facts: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The plan for a host, as plain data. Raises Impossible with a sentence."""
    if not isinstance(facts, dict):
        raise Impossible("These are no facts of a host: run labctl doctor to gather them.")
    want = wishes(asked)
    builds.supported(facts)
    may = system.rights(facts)
    root = any(may.values())
    gpu = gpus.look(facts)
    driver = gpus.driver(facts, gpu, want, root=root)
    install = driver["action"] == "install"
    variant, because = builds.variant(gpu, want, driver["action"])
    choice = builds.choose(facts, gpu, want, variant, install=install)
    ground = pythons.ground(facts, want, choice)
    missing = system.missing(facts, variant, ground, bundle=bool(get(asked, "lab_bundle")))
    manager = text(facts, "package_manager")
    words = system.kind(facts, gpu, may)
    return {
        "kind": words,
        "sentence": _sentence(facts, words),
        "variant": variant,
        "vllm": choice.lock.vllm,
        "torch": choice.lock.torch,
        "why": f"variant {variant}: {because}; {choice.why}.",
        "source": drivers.source(choice.lock),
        "lock": choice.lock.file,
        "mode": ground.mode,
        "python": ground.python,
        "base": ground.base,
        "existing": dict(ground.row) if ground.mode == "existing" and ground.row is not None else None,
        "without": dict.fromkeys(want.vllm_without, "named by vllm_without"),
        "missing": missing,
        "manager": manager,
        "may_install": bool(manager and (may["root"] or may["sudo"])),
        "sudo": may["sudo"],
        "sudo_password": may["sudo_password"],
        "services": get(facts, "systemd") is True,
        "driver": driver,
        "docker": system.docker(facts, gpu, want, root=root),
    }


def kind(facts: Mapping[str, Any]) -> dict[str, Any]:
    """`kind` and `sentence` alone, for a host that no plan fits."""
    facts = facts if isinstance(facts, dict) else {}
    words = system.kind(facts, gpus.look(facts), system.rights(facts))
    return {"kind": words, "sentence": _sentence(facts, words)}


def lacking(facts: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """What a bundle must bring beside the lock's wheels: uv, a Python of which version (or None)."""
    uv = text(facts, "lab", "uv") is None
    return {"uv": uv, "python": plan["python"] if plan["base"] is None else None}


def _sentence(facts: Mapping[str, Any], words: list[str]) -> str:
    name = f" ({system_name})" if (system_name := text(facts, "os", "name")) else ""
    article = "an" if words[0].startswith("u") else "a"
    rest = f": {', '.join(words[1:])}" if words[1:] else ""
    return f"{text(facts, 'hostname') or 'This host'} is {article} {words[0]}{name}{rest}."
