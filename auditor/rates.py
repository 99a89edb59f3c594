"""Rates and intervals in words, for the terminal, the record's sentence and the page alike."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

MISSING = "not computed"
PRECISE = 100
"""Samples from which a rate gets a decimal; with fewer, one sample moves it by more than a point."""
NARROW = 0.02
"""Width of an interval under which its ends get a decimal."""


def percent(value: float | None, n: int, *, bound: bool = False, space: str = " ") -> str:
    """`41.2 %`: a rate over n samples. One that is not exactly 0 or 1 is never rounded to it.

    bound: the rate stands behind `≤`, so it is rounded up where it would vanish. space: what stands before the sign.
    """
    if value is None or not isfinite(value):
        return MISSING
    digits = 1 if n >= PRECISE else 0
    least = 10.0**-digits
    shown = f"{value * 100:.{digits}f}"
    if value > 0 and float(shown) == 0:
        shown = f"{least:.{digits}f}" if bound else f"<{space}{least:.{digits}f}"
    elif value < 1 and float(shown) >= 100 and not bound:
        shown = f">{space}{100 - least:.{digits}f}"
    return f"{shown}{space}%"


def interval(span: Sequence[float] | None, *, dash: str = "–") -> str:
    """`37–46`, in percent; one decimal where the interval is narrower than two points."""
    if span is None or not all(isfinite(end) for end in span):
        return MISSING
    low, high = span
    digits = 0 if high - low >= NARROW else 1
    return f"{low * 100:.{digits}f}{dash}{high * 100:.{digits}f}"


def plural(n: int, what: str) -> str:
    """`1 stage`, `8 stages`."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
