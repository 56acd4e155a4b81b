"""Verdicts about what the host can fetch from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labctl.doctor.verdict import Verdict
from labctl.plan.facts import get, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def verdicts(facts: Mapping[str, Any], host: str) -> Iterator[Verdict]:
    """Facts that were gathered without the network (a record's) say nothing of it."""
    if "network" not in facts:
        return
    endpoint, why = text(facts, "network", "index", "endpoint"), text(facts, "network", "index", "why")
    if get(facts, "network", "index", "answers") is True:
        yield Verdict("index", "ok", f"{endpoint or 'the package index'} answers: packages come from there")
    else:
        bundle = f"labctl bundle --for {host} && labctl provision {host} --bundle bundle-{host}"
        fix = f"{bundle}  # from where an index answers; or set PIP_INDEX_URL there"
        what = f"no answer from {endpoint or 'a package index'} ({why or 'unknown'}): packages must be brought"
        yield Verdict("index", "warn", what, fix)
    hub, why = text(facts, "network", "hub", "endpoint"), text(facts, "network", "hub", "why")
    if get(facts, "network", "hub", "answers") is True:
        yield Verdict("hub", "ok", f"{hub or 'the model hub'} answers: models come from there")
    else:
        what = f"no answer from {hub or 'the model hub'} ({why or 'unknown'}): runs use synthetic models"
        yield Verdict("hub", "warn", what, "export HF_ENDPOINT=https://YOUR-MIRROR")
