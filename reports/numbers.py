"""Numbers as a reader meets them: never more digits than the evidence justifies, never NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, TypeGuard

from auditor import rates
from auditor.rates import MISSING
from auditor.record import Spent

THIN = "\u202f"
"""Narrow no-break space, between a number and its unit."""
JOINER = "\u2060"
"""Invisible, forbids a line break."""
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def known(value: float | None) -> TypeGuard[float]:
    """Whether there is a number at all."""
    return value is not None and isfinite(value)


def real(value: float | None) -> float | None:
    """The number, None where it is no number."""
    return value if known(value) else None


def percent(value: float | None, n: int, *, bound: bool = False) -> str:
    """`41.2 %`: a rate over n samples, as `auditor.rates` words it."""
    return rates.percent(value, n, bound=bound, space=THIN)


def at_most(value: float | None, n: int) -> str:
    """`≤ 41.2 %`: an upper bound over n samples."""
    return f"≤{THIN}{percent(value, n, bound=True)}" if known(value) else MISSING


def at_least(value: float | None, n: int) -> str:
    """`≥ 12.0 %`: a lower bound over n samples."""
    if not known(value):
        return MISSING
    shown = percent(value, n)
    if shown.startswith("<"):  # at least less than something says nothing
        return f"≥{THIN}0{THIN}%"
    return f"≥{THIN}{shown.removeprefix(f'>{THIN}')}"


def interval(span: Sequence[float] | None, *, whole: bool = False) -> str:
    """`37–46`, in percent, as `auditor.rates` words it. whole: keep it on one line, in running text."""
    return rates.interval(span, dash=f"{JOINER}–{JOINER}" if whole else "–")


def count(value: int) -> str:
    """`12,345`."""
    return f"{value:,}"


def amount(value: float | None) -> str:
    """A measured quantity to three significant digits."""
    if value is None or not isfinite(value):
        return MISSING
    if value <= 0:
        return f"−{amount(-value)}" if value else "0"
    if 1e-4 <= value < 1e5:
        return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    digits, exponent = f"{value:.2e}".split("e")
    power = str(int(exponent)).translate(RAISED)
    return f"10{power}" if digits == "1.00" else f"{float(digits):g}×10{power}"


def times(value: float | None, epsilon: float | None) -> str:
    """`0.8 × epsilon`: a distance as a multiple of epsilon; empty where either is missing."""
    if not known(value) or not known(epsilon) or epsilon <= 0:
        return ""
    share = value / epsilon
    shown = f"{share:.2f}" if 0.1 <= share < 9.995 else amount(share) if share < 99.5 else f"{share:,.0f}"
    return f"{shown}\xa0×\xa0epsilon"


def signed(value: float) -> str:
    """A change, with its sign: `+0.031`, `−1.2`."""
    return amount(value) if value < 0 else f"+{amount(value)}"


def seconds(value: float | None) -> str:
    """`0.42 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if value is None or not isfinite(value):
        return MISSING
    if value < 60:
        return f"{value:.2f}{THIN}s" if value < 1 else f"{value:.3g}{THIN}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{THIN}min {rest}{THIN}s" if rest else f"{minutes}{THIN}min"
    return f"{minutes // 60}{THIN}h {minutes % 60}{THIN}min"


def passes(spent: Spent) -> str:
    """`1,200 forwards, 600 backwards and 3 queries`; empty for none."""
    kinds = ("forwards", "backwards", "queries")
    told = [f"{count(getattr(spent, kind))} {kind}" for kind in kinds if getattr(spent, kind)]
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)


def plain(value: Any) -> str:
    """Any value of a table of settings, in one line: `steps 40, loss margin` for a mapping, `none` for nothing."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if isfinite(value) else "no number"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(entry)}" for key, entry in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(entry) for entry in value) or "none"
    return str(value)
