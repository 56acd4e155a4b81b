"""One clock for a run: seconds since its anchor, the same in each of its processes."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def anchor() -> dict[str, float | str]:
    """The run's zero: one UTC time (ISO 8601) and CLOCK_MONOTONIC (s), which all processes of a boot share."""
    return {"utc": datetime.now(UTC).isoformat(timespec="milliseconds"), "monotonic": time.monotonic()}


def since(zero: float) -> float:
    """Seconds since the anchor's monotonic value, to the millisecond."""
    return round(time.monotonic() - zero, 3)
