"""Differences of rates and p-values in words, for a comparison's sentence and its tables alike."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from auditor.paired import LEVEL
from auditor.rates import MISSING, PRECISE

MINUS = "−"
CLOSE = 0.1
"""Share of the level within which a p-value keeps three digits, so that none is rounded across it."""


def points(value: float | None, n: int) -> str:
    """`−3.2`: a difference of two rates over n samples, in percentage points, with its sign.

    One that is not 0 is never rounded to it.
    """
    if value is None or not isfinite(value):
        return MISSING
    sign = "+" if value > 0 else MINUS if value < 0 else ""
    return sign + size(value, n)


def size(value: float, n: int) -> str:
    """`3.2`: how large a difference is, in percentage points, without its sign."""
    shown = f"{abs(value) * 100:.{1 if n >= PRECISE else 0}f}"
    return shown if float(shown) or not value else f"{abs(value) * 100:.1g}"


def ends(span: Sequence[float] | None, n: int) -> str:
    """`−5.9 to −0.6`: an interval of differences, in percentage points."""
    if span is None or not all(isfinite(end) for end in span):
        return MISSING
    low, high = span
    return f"{points(low, n)} to {points(high, n)}"


def p_value(p: float | None) -> str:
    """`0.017`, `<0.001`: two digits, three near the level that it is held against."""
    if p is None or not isfinite(p):
        return MISSING
    if p < 0.001:
        return "<0.001"
    return f"{p:.3g}" if abs(p - LEVEL) < CLOSE * LEVEL else f"{p:.2g}"


def equation(p: float | None) -> str:
    """`p = 0.017`, `p < 0.001`."""
    shown = p_value(p)
    return f"p < {shown[1:]}" if shown.startswith("<") else f"p = {shown}"
