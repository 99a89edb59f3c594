"""Two models on the same samples: what differs, and how far such samples can tell. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import nan, sqrt
from statistics import median

from msgspec import Struct

from auditor.metrics import CONFIDENCE, Z

LEVEL = round(1 - CONFIDENCE, 9)
"""What a p-value is held against: the test and the interval are two sides of one confidence."""


class Change(Struct, frozen=True, kw_only=True):
    """A property of samples, counted in pairs: how many have it with both models, with one alone, with neither.

    baseline, other: the two rates as fractions of n. difference: other minus baseline, with Tango's interval at 95 %.
    p: McNemar's exact test. p_holm: the same adjusted over the classes, None where there is nothing to adjust for.
    Rates, difference, interval and p are None for n = 0.
    """

    n: int
    both: int
    only_baseline: int
    only_other: int
    neither: int
    baseline: float | None
    other: float | None
    difference: float | None
    interval: tuple[float, float] | None
    p: float | None
    p_holm: float | None = None

    @property
    def clear(self) -> bool:
        """Whether the samples tell the models apart: the exact test says so, and the interval leaves out 0."""
        if self.p is None or self.interval is None:
            return False
        low, high = self.interval
        return self.p < LEVEL and not low <= 0 <= high


def change(pairs: Iterable[tuple[bool, bool]]) -> Change:
    """Count pairs (has it with the baseline, has it with the other), and compare the two rates."""
    pairs = list(pairs)
    n, both = len(pairs), sum(before and after for before, after in pairs)
    lost = sum(before and not after for before, after in pairs)
    gained = sum(after and not before for before, after in pairs)
    return Change(
        n=n,
        both=both,
        only_baseline=lost,
        only_other=gained,
        neither=n - both - lost - gained,
        baseline=(both + lost) / n if n else None,
        other=(both + gained) / n if n else None,
        difference=(gained - lost) / n if n else None,
        interval=tango(gained, lost, n) if n else None,
        p=mcnemar(gained, lost) if n else None,
    )


def tango(gained: int, lost: int, n: int) -> tuple[float, float]:
    """Score interval at 95 % for the difference (gained − lost) / n of two paired proportions (Tango 1998).

    It holds all differences that the score test does not reject, with the nuisance parameter at its constrained
    maximum; at 0 that test is McNemar's. Chosen over Newcombe's method 10 (1998), which takes the correlation as
    known: where two models agree on nearly every sample, as a file and its int8 version do, its interval of nominal
    95 % covers as little as 87 % (one model only loses, 1 % of 200 samples; Tango's covers 98 % there).

    Costs two root searches. Raises ValueError for n = 0, and for more flips than pairs.
    """
    if n <= 0:
        raise ValueError(f"an interval needs at least one pair, got {n}")
    if min(gained, lost) < 0 or gained + lost > n:
        raise ValueError(f"of {n} pairs {gained} and {lost} can't have flipped")
    return _lowest(gained, lost, n), -_lowest(lost, gained, n)


def _lowest(gained: int, lost: int, n: int) -> float:
    """The lower end: by formula where all pairs are alike, since there the test's variance vanishes at what was
    observed; else between -1, where the observed difference is far too high for the test, and the difference itself.
    """
    if lost == n:
        return -1.0
    if gained == n:
        return 1 - 2 * Z * Z / (n + Z * Z)
    if not gained and not lost:
        return -Z * Z / (n + Z * Z)
    observed = (gained - lost) / n

    def above(difference: float) -> float:
        """By how much what was observed lies more than 1.96 standard errors above this difference, times n."""
        return gained - lost - n * difference - Z * sqrt(n * _variance(gained, lost, n, difference))

    if above(observed) >= 0:
        return observed  # the end is nearer than a float can tell
    from scipy.optimize import brentq

    return float(brentq(above, -1.0, observed, xtol=1e-12 / n, rtol=1e-15, maxiter=1000))


def _variance(gained: int, lost: int, n: int, difference: float) -> float:
    """Of one pair's change, were this the true difference, with the shares of gained and lost likeliest under it.

    A sum of products that are not negative: a difference could fall below 0 near -1 and 1, where it vanishes.
    """
    if difference > 0:
        gained, lost, difference = lost, gained, -difference
    apart, room = -difference, 1 + difference
    b = (gained + lost) * room - 2 * apart * (n - lost)
    rare = (sqrt(b * b + 8 * n * gained * apart * room) + b) / (4 * n)
    common, neither = rare + apart, max(room - 2 * rare, 0.0)
    return (rare + common) * neither + 4 * rare * common


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided p-value of McNemar's exact test: of the samples that flipped, either way is as likely (McNemar 1947).

    1 where none flipped.
    """
    if not gained + lost:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for how many there are, in their order: each bounds the chance of any false one (Holm 1979)."""
    adjusted, least = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        least = max(least, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = least
    return adjusted


def middle(values: Sequence[float]) -> float:
    """The median, infinite where half of the values are; NaN for none, and between minus infinity and infinity."""
    return float(median(values)) if values else nan


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Interval of at least 95 % for a median, between two of the values, whatever their distribution (Thompson 1936).

    None for fewer than six: even the smallest and the largest would hold it less often. Ends are infinite where the
    values there are.
    """
    from scipy.stats import binom

    ranked = sorted(values)
    outside = int(binom.ppf(LEVEL / 2, len(ranked), 0.5)) if ranked else 0
    return (ranked[outside - 1], ranked[-outside]) if outside else None
