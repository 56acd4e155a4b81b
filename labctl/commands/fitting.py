"""Whether a host has what a lab needs, asked before anything is started on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from labctl.follow import Line
    from labctl.sessions import Session


def fit(lab: Mapping[str, Any], hosts: int = 1) -> Callable[[Line], None]:
    """What raises UsageError for a host on which the lab cannot be run, or its part over so many ``hosts``."""
    from labctl import needs

    lab = needs.shared(lab, hosts)

    def look(line: Line) -> None:
        if not set(needs.read(lab)) & {"gpus", "variant"}:
            return
        variant = line.launcher.variant()
        needs.of_host(lab, line.host.name, variant, 0 if variant == "cpu" else _gpus(line.session))

    return look


def _gpus(session: Session) -> int | None:
    """How many GPUs the driver shows; None where it does not say."""
    done = session.run(["sh", "-c", "nvidia-smi -L"], timeout=30)
    return sum(line.startswith("GPU ") for line in done.out.splitlines()) if done.code == 0 else None
