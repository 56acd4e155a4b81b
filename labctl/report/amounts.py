"""Numbers for reading. Each function gives None for what is no finite number, whatever its type."""

from __future__ import annotations

import math

_SIZES = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def finite(value: object) -> float | None:
    """The value as a finite float, or None for anything else (booleans and strings too)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def number(value: object) -> str | None:
    """A number for reading (``29,056``, ``44.3``, ``0.84``), or None where it is no finite number."""
    if (real := finite(value)) is None:
        return None
    amount = abs(real)
    if amount >= 1e15 or 0 < amount < 1e-4:
        return f"{real:.3g}"
    if isinstance(value, int) or real == int(real):
        return f"{int(real):,}"
    if amount < 1:
        return f"{real:.3g}"
    places = 0 if amount >= 1000 else 1 if amount >= 100 else 2
    return f"{real:,.{places}f}"


def seconds(value: object) -> str | None:
    """A duration: milliseconds below half a second, else seconds."""
    if (real := finite(value)) is None:
        return None
    if real == 0 or abs(real) >= 0.5:
        return f"{real:.2f} s" if 0 < abs(real) < 1000 else f"{number(real)} s"
    return f"{real * 1000:.{0 if abs(real) >= 0.01 else 2}f} ms"


def size(value: object) -> str | None:
    """A number of bytes in the largest unit that keeps it at one or more."""
    if (real := finite(value)) is None:
        return None
    step = 0
    while abs(real) >= 1024 and step < len(_SIZES) - 1:
        real /= 1024
        step += 1
    shown = int(real) if not step else round(real, 2)
    return f"{number(shown)} {_SIZES[step]}"
