"""Numbers for reading. Each function gives None for what is no finite number, whatever its type."""

from __future__ import annotations

import math

SIZES = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
STEP = 1024
TINY, HUGE = 1e-4, 1e15  # beyond these a number is shown with its exponent
PLACES = ((1000, 0), (100, 1), (1, 2))  # decimals from this amount on
SECOND = 0.5  # below it a duration is shown in milliseconds
LONG = 1000  # seconds without decimals
WHOLE_MS = 0.01  # from here on milliseconds without decimals


def finite(value: object) -> float | None:
    """Give the value as a finite float, or None for anything else (booleans and strings too)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def number(value: object) -> str | None:
    """Write a number (``29,056``, ``44.25``, ``0.84``)."""
    if (real := finite(value)) is None:
        return None
    amount = abs(real)
    if amount >= HUGE or 0 < amount < TINY:
        return f"{real:.3g}"
    if real == int(real):
        return f"{int(real):,}"
    for least, places in PLACES:
        if amount >= least:
            return f"{real:,.{places}f}"
    return f"{real:.3g}"


def seconds(value: object) -> str | None:
    """Write a duration: milliseconds below half a second, else seconds."""
    if (real := finite(value)) is None:
        return None
    if real == 0 or abs(real) >= LONG:
        return f"{number(real)} s"
    if abs(real) >= SECOND:
        return f"{real:.2f} s"
    return f"{real * 1000:.{0 if abs(real) >= WHOLE_MS else 2}f} ms"


def size(value: object) -> str | None:
    """Write a number of bytes in the largest unit that keeps it at one or more."""
    if (real := finite(value)) is None:
        return None
    step = 0
    while abs(real) >= STEP and step < len(SIZES) - 1:
        real /= STEP
        step += 1
    return f"{number(round(real, 2) if step else int(real))} {SIZES[step]}"
