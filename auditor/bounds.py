"""What a number of good samples says of a rate: chances of being wrong, and an interval. Loads no torch.

| bound | the claim is about | valid |
|---|---|---|
| `certain` | the given samples | always; no chance is involved |
| `drawn` | the given samples, from those looked at | at any time, if they come in a random order |
| `exact` | the population (Clopper & Pearson, Biometrika 26 (1934)) | for a number of samples fixed beforehand |
| `wilson` | the population (Wilson, JASA 22 (1927)), wrong a little more often than it says at times | as `exact` |
| `mixture` | the population, by a beta-binomial mixture martingale | at any time |
| `sprt` | the population, by Wald's test; no promise for rates within `margin` of the threshold | at any time |

Every test is one-sided, one for passing and one for failing, since no rate has both wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, inf, sqrt
from statistics import NormalDist
from typing import SupportsFloat

MOST = 10_000_000
"""Samples beyond which nobody is told how many it would take."""
Pair = tuple[SupportsFloat, SupportsFloat]
"""p-values for passing and failing, or the low and the high end of an interval."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """Of n samples that were looked at, so many are good: at least `low` and at most `high`, given what is not known.
    size: of the given set that they are from."""

    low: int
    high: int
    n: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """passing, failing: p-values, the chance to see so much in favour of passing (failing) the rule in a case where it
    should not; 0 is certain. low, high: within which the rate lies."""

    passing: float
    failing: float
    low: float
    high: float


def weigh(bound: str, count: Count, at_least: float, *, alpha: float, margin: float) -> Evidence:
    """What the count says of "at least this share is good".

    The ends of the interval are one-sided at alpha for `exact` and `wilson`, together at alpha for the others.
    """
    if not count.n and bound != "certain":
        return Evidence(passing=1.0, failing=1.0, low=0.0, high=1.0)
    return BOUNDS[bound](count, at_least, alpha, margin)


def needed(bound: str, count: Count, at_least: float, *, alpha: float, margin: float) -> int | None:
    """Samples that would decide it, if they were as good as those so far; None where no number up to ten million does,
    as at the threshold itself. For `certain`, all that are given."""
    if bound in ("certain", "drawn"):
        return count.size
    rate = (count.low + count.high) / 2 / count.n if count.n else at_least

    def decides(n: int) -> bool:
        good = floor(rate * n + 1e-9) if rate > at_least else ceil(rate * n - 1e-9)  # the less clear of two counts
        found = weigh(bound, Count(low=good, high=good, n=n, size=n), at_least, alpha=alpha, margin=margin)
        return min(found.passing, found.failing) <= alpha

    return None if rate == at_least else smallest(decides, count.n)


def smallest(decides: Callable[[int], bool], start: int) -> int | None:
    """The smallest number from `start` on that decides, by doubling and bisection; None beyond MOST. Numbers that do
    so now and then only, since samples are whole, are told as nearly the smallest."""
    enough = max(start, 1)
    while not decides(enough):
        enough *= 2
        if enough > MOST:
            return None
    short = max(enough // 2, start)
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if decides(middle) else (middle, enough)
    return enough


def _certain(count: Count, at_least: float, alpha: float, margin: float) -> Evidence:
    unseen = count.size - count.n
    low, high = count.low / max(count.size, 1), (count.high + unseen) / max(count.size, 1)
    return Evidence(passing=float(low < at_least), failing=float(high >= at_least), low=low, high=high)


def _drawn(count: Count, at_least: float, alpha: float, margin: float) -> Evidence:
    from auditor.sequential import confidence_sequence_among, drawn

    return _streamed(
        count,
        lambda good: drawn(good, count.n, at_least, count.size),
        lambda good: confidence_sequence_among(good, count.n, count.size, alpha),
    )


def _exact(count: Count, at_least: float, alpha: float, margin: float) -> Evidence:
    from scipy.special import betainc, betaincc, betaincinv  # only where chance is asked for: it takes long to load

    n, low, high = count.n, count.low, count.high
    return Evidence(
        passing=0.0 if at_least <= 0 else float(betainc(low, n - low + 1, at_least)) if low else 1.0,
        failing=1.0 if high == n else float(betaincc(high + 1, n - high, at_least)),
        low=float(betaincinv(low, n - low + 1, alpha)) if low else 0.0,
        high=1.0 if high == n else float(betaincinv(high + 1, n - high, 1 - alpha)),
    )


def _wilson(count: Count, at_least: float, alpha: float, margin: float) -> Evidence:
    n, normal = count.n, NormalDist()

    def score(good: int) -> float:
        spread = sqrt(n * at_least * (1 - at_least))
        off = good - n * at_least
        return off / spread if spread else inf * off if off else 0.0

    z = normal.inv_cdf(1 - alpha)

    def end(good: int, sign: int) -> float:
        rate = good / n
        half = z * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
        return min(max((rate + z * z / (2 * n) + sign * half) / (1 + z * z / n), 0.0), 1.0)

    passing = 0.0 if at_least <= 0 else normal.cdf(-score(count.low))
    return Evidence(
        passing=passing, failing=normal.cdf(score(count.high)), low=end(count.low, -1), high=end(count.high, 1)
    )


def _mixture(count: Count, at_least: float, alpha: float, margin: float) -> Evidence:
    from auditor.sequential import confidence_sequence, mixture

    return _streamed(
        count,
        lambda good: mixture(good, count.n, at_least),
        lambda good: confidence_sequence(good, count.n, alpha),
    )


def _sprt(count: Count, at_least: float, alpha: float, margin: float) -> Evidence:
    from auditor.sequential import confidence_sequence, sprt

    return _streamed(
        count,
        lambda good: sprt(good, count.n, at_least, margin),
        lambda good: confidence_sequence(good, count.n, alpha),
    )


def _streamed(count: Count, test: Callable[[int], Pair], sequence: Callable[[int], Pair]) -> Evidence:
    """By a test and a confidence sequence of `auditor.sequential`; what is not known counts against either claim."""
    return Evidence(
        passing=float(test(count.low)[0]),
        failing=float(test(count.high)[1]),
        low=float(sequence(count.low)[0]),
        high=float(sequence(count.high)[1]),
    )


BOUNDS: dict[str, Callable[[Count, float, float, float], Evidence]] = {
    "certain": _certain,
    "drawn": _drawn,
    "exact": _exact,
    "wilson": _wilson,
    "mixture": _mixture,
    "sprt": _sprt,
}
