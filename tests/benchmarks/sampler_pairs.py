"""Passes with and without the sampler, made into pairs; and whether it really stood still. Pure functions."""

from __future__ import annotations

from typing import NamedTuple

# A switch this far into a pass (share of it) leaves a pass that is neither with nor without.
LATE = 0.05
# A sample that was under way when its process was stopped, in s; samples are 200 ms apart.
_SLACK = 0.02


class Pass(NamedTuple):
    """One measured pass; moments in seconds of the run's clock.

    ``rate``: generated tokens per second. ``sampled``: whether the sampler was to run. ``switched``: when it was told
    so, None where it was in that state already. ``taint``: why the pass would count for nothing in a run, or "".
    """

    began: float
    ended: float
    rate: float
    sampled: bool
    switched: float | None = None
    taint: str = ""

    @property
    def late(self) -> float:
        """How much of the pass was over when the switch came, as a share of it."""
        if self.switched is None:
            return 0.0
        return max(0.0, self.switched - self.began) / (self.ended - self.began)

    @property
    def kept(self) -> bool:
        """Whether it counts."""
        return self.late <= LATE and not self.taint


def sampled(position: int) -> bool:
    """Whether the sampler runs in this measured pass: with, without, without, with, and so on.

    Each two passes are a pair, and it changes from pair to pair which one comes first. At every second border
    nothing is switched.
    """
    return position % 4 in {0, 3}


def pairs(passes: list[Pass]) -> list[tuple[float, float]]:
    """(with, without) in tokens/s of each two passes of which both count."""
    found = []
    for two in zip(passes[::2], passes[1::2], strict=False):
        if all(one.kept for one in two) and two[0].sampled != two[1].sampled:
            first, second = two if two[0].sampled else two[::-1]
            found.append((first.rate, second.rate))
    return found


def dropped(passes: list[Pass]) -> list[str]:
    """What was left out, a line for each reason."""
    late = sum(one.late > LATE for one in passes)
    why = [f"{late} of {len(passes)} passes: the switch came more than {LATE:.0%} late"] if late else []
    return why + [f"pass {number}: {one.taint}" for number, one in enumerate(passes) if one.taint]


def faults(passes: list[Pass], samples: list[float], hz: float) -> list[str]:
    """Where the samples (their moments, s) contradict that the sampler stood still or ran; empty where they do not.

    A pass without has none, one with at least half of those that ``hz`` makes; short ones are looked at together.
    """
    found, made, expected = [], 0, 0.0
    for number, one in enumerate(passes):
        if not one.kept:
            continue
        since = max(one.began, one.switched or 0.0) + _SLACK
        # Not the last moment itself: within the same millisecond the sampler may be back already.
        there = sum((one.began if one.sampled else since) < t < one.ended for t in samples)
        if not one.sampled and there:
            found.append(f"pass {number} was to be without the sampler, and has {there} samples")
        if one.sampled:
            length = one.ended - max(one.began, one.switched or 0.0)
            made, expected = made + there, expected + length * hz / 2
            if there < int(length * hz / 2):
                found.append(f"pass {number} was to be sampled at {hz:g} Hz, and has {there} samples in {length:.2f} s")
    if made < expected:
        found.append(f"all passes with the sampler have {made} samples; {expected:.0f} would be half of them")
    return found
