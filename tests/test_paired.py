"""Paired rates against published examples, brute force, simulation and statsmodels."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import product
from math import inf

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom, chi2
from statsmodels.stats.contingency_tables import mcnemar as theirs
from statsmodels.stats.multitest import multipletests

from auditor.paired import change, holm, mcnemar, median_interval, middle, tango


def pairs_of(both: int, lost: int, gained: int, neither: int) -> list[tuple[bool, bool]]:
    return [(True, True)] * both + [(True, False)] * lost + [(False, True)] * gained + [(False, False)] * neither


def test_cavo_2012_as_published() -> None:
    # complete response before and after consolidation therapy, 59 / 6 / 16 / 80: Fagerland, Lydersen & Laake,
    # Statistical Analysis of Contingency Tables (2017), chapter 8
    found = change(pairs_of(both=59, lost=16, gained=6, neither=80))
    assert found.difference == pytest.approx(-0.0621, abs=5e-5)
    assert found.interval == pytest.approx((-0.1240, -0.0054), abs=5e-5)
    assert found.p == pytest.approx(0.052479, abs=5e-7)
    assert not found.clear  # the interval leaves out 0, the exact test does not


def test_counts_and_rates_by_hand() -> None:
    found = change(pairs_of(both=4, lost=3, gained=2, neither=1))
    assert (found.n, found.both, found.only_baseline, found.only_other, found.neither) == (10, 4, 3, 2, 1)
    assert (found.baseline, found.other) == (0.7, 0.6)
    assert found.difference == pytest.approx(-0.1)


def test_no_pairs_no_numbers() -> None:
    found = change([])
    assert (found.baseline, found.other, found.difference, found.interval, found.p) == (None,) * 5
    assert not found.clear
    with pytest.raises(ValueError, match="at least one pair, got 0"):
        tango(0, 0, 0)


def rejected(gained: int, lost: int, n: int, difference: float) -> bool:
    """Tango's test without his algebra: the nuisance parameter by search, for its likelihood."""

    def against(share: float) -> float:
        cells = (share + difference, share, 1 - 2 * share - difference)
        return -sum(k * np.log(max(p, 1e-300)) for k, p in zip((gained, lost, n - gained - lost), cells, strict=True))

    lowest, highest = max(0.0, -difference), (1 - difference) / 2
    share = minimize_scalar(against, bounds=(lowest, highest), method="bounded", options={"xatol": 1e-12}).x
    variance = n * (2 * share + difference - difference**2)
    return bool((gained - lost - n * difference) ** 2 / variance > chi2.ppf(0.95, 1))


@pytest.mark.parametrize(("gained", "lost", "n"), [(6, 16, 161), (0, 3, 20), (9, 4, 30), (0, 0, 25), (1, 0, 44)])
def test_the_interval_holds_what_the_score_test_keeps(gained: int, lost: int, n: int) -> None:
    low, high = tango(gained, lost, n)
    for end, outwards in ((low, -1), (high, 1)):
        assert rejected(gained, lost, n, end + outwards * 1e-4)
        assert not rejected(gained, lost, n, end - outwards * 1e-4)


def test_every_small_table_has_an_interval_around_its_difference() -> None:
    for n in range(1, 13):
        for gained, lost in product(range(n + 1), repeat=2):
            if gained + lost <= n:
                low, high = tango(gained, lost, n)
                assert -1 <= low <= (gained - lost) / n <= high <= 1
                assert low < high
                assert tango(lost, gained, n) == pytest.approx((-high, -low), abs=1e-9)


def kept(gained: int, lost: int, n: int, difference: Fraction) -> bool:
    """Whether Tango's test keeps this difference, in exact arithmetic: his own quadratic, and squares for roots."""
    with localcontext(prec=120):
        d = Decimal(difference.numerator) / Decimal(difference.denominator)
        b = (2 * n - gained + lost) * d - gained - lost
        c = -lost * d * (1 - d)
        share = ((b * b - 8 * n * c).sqrt() - b) / (4 * n)
        variance = n * (2 * share + d * (1 - d))
        return (gained - lost - n * d) ** 2 <= Decimal(float(chi2.ppf(0.95, 1))) * variance


SIZES = [1, 2, 3, 17, 500, 10**6 + 3, 10**9, 10**12]


@pytest.mark.parametrize("n", SIZES)
def test_an_interval_for_any_split_of_any_size(n: int) -> None:
    draw = np.random.default_rng(n % 1000)
    few = [0, 1, 2, 5, n // 3, n // 2, n - n // 3, n - 5, n - 2, n - 1, n]
    tables = [*product(few, repeat=2), *(tuple(map(int, draw.integers(0, n + 1, 2))) for _ in range(50))]
    for gained, lost in tables:
        if min(gained, lost) < 0 or gained + lost > n:
            continue
        low, high = tango(gained, lost, n)
        observed = (gained - lost) / n
        assert -1 <= low <= observed <= high <= 1
        assert low < high
        assert tango(lost, gained, n) == (-high, -low)
        # where the test begins to reject: within a millionth of the interval, and within what a float holds
        step = Fraction(high - low) / 10**6 + Fraction(abs(observed)) / 2**50
        for end, outwards in ((low, -1), (high, 1)):
            if abs(end) < 1:
                assert kept(gained, lost, n, Fraction(end) - outwards * step)
                if abs(beyond := Fraction(end) + outwards * step) < 1:
                    assert not kept(gained, lost, n, beyond)


def test_more_pairs_than_a_float_counts_end_at_what_was_observed() -> None:
    assert tango(1, 10**18 - 1, 10**18) == (-1, -1)


def test_a_table_that_can_t_be_is_refused() -> None:
    for gained, lost in ((2, 2), (-1, 0)):
        with pytest.raises(ValueError, match="of 3 pairs"):
            tango(gained, lost, 3)


def test_where_nothing_flipped_the_interval_is_the_score_interval_of_none_of_n() -> None:
    z2 = chi2.ppf(0.95, 1)
    assert tango(0, 0, 200) == pytest.approx((-z2 / (200 + z2), z2 / (200 + z2)))


@pytest.mark.parametrize(
    "cells", [(0.4, 0.02, 0.02, 0.56), (0.4, 0.06, 0.03, 0.51), (0.6, 0.05, 0.0, 0.35), (0.3, 0.2, 0.3, 0.2)]
)
def test_the_interval_covers_as_often_as_it_says(cells: tuple[float, ...]) -> None:
    tables, times = np.unique(
        np.random.default_rng(0).multinomial(200, cells, 2000)[:, 1:3], axis=0, return_counts=True
    )
    true = cells[2] - cells[1]
    covered = 0
    for (lost, gained), often in zip(tables, times, strict=True):
        low, high = tango(int(gained), int(lost), 200)
        covered += often * (low <= true <= high)
    assert 0.93 <= covered / 2000 <= 0.985


def test_it_covers_where_models_agree_on_nearly_every_sample() -> None:
    # one model only loses, 1 % of 200 samples: the exact coverage; Newcombe's method 10 has 0.865 here
    lost = np.arange(30)
    covers = [low <= -0.01 <= high for low, high in (tango(0, int(k), 200) for k in lost)]
    assert binom.pmf(lost, 200, 0.01) @ np.array(covers) == pytest.approx(0.984, abs=5e-4)


def test_mcnemar_is_statsmodels() -> None:
    for gained, lost in product(range(0, 40, 3), range(0, 25, 2)):
        expected = theirs([[7, lost], [gained, 5]], exact=True).pvalue
        assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)
        assert mcnemar(gained, lost) == mcnemar(lost, gained)
    assert mcnemar(0, 0) == 1


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 5) == 2 / 32
    assert mcnemar(1, 7) == 2 * (1 + 8) / 256


def test_holm_is_statsmodels() -> None:
    draw = np.random.default_rng(0)
    for size in (1, 2, 7, 40):
        values = list(draw.uniform(size=size) ** 4)
        assert holm(values) == pytest.approx(list(multipletests(values, method="holm")[1]))
    assert holm([0.01, 0.04, 0.03, 0.03]) == pytest.approx([0.04, 0.09, 0.09, 0.09])
    assert holm([]) == []


def test_the_interval_of_a_median_is_between_two_values() -> None:
    assert median_interval(list(range(20, 0, -1))) == (6, 15)  # of 20 the 6th and the 15th: Conover's table
    assert median_interval([1, 2, 3, 4, 5, 6]) == (1, 6)
    assert median_interval([1, 2, 3, 4, 5]) is None
    assert median_interval([]) is None


def test_what_is_infinite_has_its_place_in_a_median_and_its_interval() -> None:
    assert middle([3, inf, 1]) == 3
    assert middle([3, inf, inf, 1]) == inf
    assert middle([-inf, -inf, 5, inf]) == -inf
    assert np.isnan(middle([-inf, inf]))
    assert np.isnan(middle([]))
    assert median_interval([inf, -inf, 1, 2, 3, 4]) == (-inf, inf)
    assert median_interval([inf] * 9 + list(range(11))) == (5, inf)


@pytest.mark.parametrize("n", [6, 9, 20, 41])
def test_the_interval_of_a_median_covers_and_a_narrower_one_would_not(n: int) -> None:
    found = median_interval(list(range(1, n + 1)))
    assert found is not None
    first = int(found[0])
    assert found[1] == n + 1 - first
    assert 1 - 2 * binom.cdf(first - 1, n, 0.5) >= 0.95
    assert 1 - 2 * binom.cdf(first, n, 0.5) < 0.95
