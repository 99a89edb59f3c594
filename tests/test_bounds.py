"""Bounds on rates against scipy, statsmodels and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest, hypergeom
from statsmodels.stats.proportion import proportion_confint

from auditor.bounds import BOUNDS, Count, Evidence, needed, smallest, weigh

ALPHA = 0.05


def weighed(bound: str, good: int, n: int, at_least: float, **options: float) -> Evidence:
    size = int(options.pop("size", n))
    count = Count(low=good, high=int(options.pop("high", good)), n=n, size=size)
    return weigh(bound, count, at_least, alpha=options.get("alpha", ALPHA), margin=options.get("margin", 0.02))


@pytest.mark.parametrize(("good", "n"), [(0, 30), (1, 30), (70, 100), (997, 1000), (30, 30)])
@pytest.mark.parametrize("at_least", [0.1, 0.5, 0.7, 0.99])
def test_exact_is_the_binomial_test(good: int, n: int, at_least: float) -> None:
    found = weighed("exact", good, n, at_least)
    assert found.passing == pytest.approx(binomtest(good, n, at_least, alternative="greater").pvalue, rel=1e-9)
    assert found.failing == pytest.approx(binomtest(good, n, at_least, alternative="less").pvalue, rel=1e-9)
    low, high = proportion_confint(good, n, alpha=2 * ALPHA, method="beta")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(("good", "n"), [(0, 30), (1, 30), (70, 100), (997, 1000), (30, 30)])
def test_wilson_is_statsmodels(good: int, n: int) -> None:
    low, high = proportion_confint(good, n, alpha=2 * ALPHA, method="wilson")
    found = weighed("wilson", good, n, 0.5)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    if 0 < good < n:  # the test and the interval are one: at its ends the p-value is alpha
        assert weighed("wilson", good, n, found.low).passing == pytest.approx(ALPHA, abs=1e-9)
        assert weighed("wilson", good, n, found.high).failing == pytest.approx(ALPHA, abs=1e-9)


@pytest.mark.parametrize("bound", ["exact", "mixture"])
def test_an_interval_and_its_tests_agree(bound: str) -> None:
    found = weighed(bound, 70, 100, 0.5)
    for rate, passes, fails in ((found.low - 1e-6, True, False), (found.low + 1e-6, False, False)):
        evidence = weighed(bound, 70, 100, rate)
        assert (evidence.passing <= ALPHA, evidence.failing <= ALPHA) == (passes, fails)
    evidence = weighed(bound, 70, 100, found.high + 1e-6)
    assert (evidence.passing <= ALPHA, evidence.failing <= ALPHA) == (False, True)


@pytest.mark.parametrize("bound", ["exact", "wilson", "mixture"])
def test_a_threshold_of_nothing_and_of_everything(bound: str) -> None:
    assert weighed(bound, 0, 30, 0.0).passing == 0
    assert weighed(bound, 30, 30, 1.0).passing > ALPHA  # that all are good can't be shown on some
    assert weighed(bound, 29, 30, 1.0).failing == 0


@pytest.mark.parametrize("bound", BOUNDS)
def test_what_is_not_known_counts_against_either_claim(bound: str) -> None:
    known, unknown = weighed(bound, 60, 100, 0.5, size=400), weighed(bound, 60, 100, 0.5, size=400, high=80)
    assert unknown.passing == known.passing
    assert unknown.failing >= known.failing
    assert unknown.low == known.low
    assert unknown.high > known.high


def test_certain_is_certain() -> None:
    for good in range(11):
        for at_least in (0.0, 0.35, 0.4, 1.0):
            found = weighed("certain", good, 10, at_least)
            assert (found.passing, found.failing) == (float(good / 10 < at_least), float(good / 10 >= at_least))
    half = weighed("certain", 3, 5, 0.3, size=10)  # three of ten at least, eight at most
    assert (half.low, half.high, half.passing, half.failing) == (0.3, 0.8, 0.0, 1.0)


def test_drawn_knows_all_once_all_are_seen() -> None:
    assert weighed("drawn", 5, 10, 0.5).passing == 0
    assert weighed("drawn", 4, 10, 0.5).failing == 0
    assert weighed("drawn", 6, 9, 0.6, size=10).passing == 0  # six of ten are good already
    assert weighed("drawn", 3, 8, 0.6, size=10).failing == 0  # five of ten at most


def test_drawn_is_wrong_in_at_most_alpha_of_all_orders() -> None:
    """Exact, for a set that misses its threshold by one: the chance that the draw ever passes it, by dynamic
    programming over the counts."""
    size, total, at_least = 60, 29, 0.5
    alive, wrong = {0: 1.0}, 0.0
    for n in range(1, size + 1):
        after: dict[int, float] = {}
        for good, chance in alive.items():
            left = (total - good) / (size - n + 1)
            for step, share in ((1, left), (0, 1 - left)):
                if share > 0:
                    after[good + step] = after.get(good + step, 0.0) + chance * share
        passed = [good for good in after if weighed("drawn", good, n, at_least, size=size).passing <= ALPHA]
        wrong += sum(after.pop(good) for good in passed)
        alive = after
    assert 0 < wrong <= ALPHA
    assert hypergeom(size, total, 10).pmf(10) < ALPHA  # what a draw of ten good ones would be


@pytest.mark.parametrize(("good", "at_least"), [(70, 0.65), (60, 0.55), (60, 0.7)])
def test_needed_is_the_first_that_decides(good: int, at_least: float) -> None:
    count = Count(low=good, high=good, n=100, size=100)
    more = needed("exact", count, at_least, alpha=ALPHA, margin=0.02)
    assert more is not None

    def clear(n: int) -> bool:
        if good / 100 > at_least:
            return bool(binom.sf(np.floor(good / 100 * n + 1e-9) - 1, n, at_least) <= ALPHA)
        return bool(binom.cdf(np.ceil(good / 100 * n - 1e-9), n, at_least) <= ALPHA)

    assert clear(more)
    assert more == 100 or not clear(round(0.9 * more))  # counts are whole: some numbers just below may do too


def test_nobody_is_told_to_take_forever() -> None:
    count = Count(low=50, high=50, n=100, size=100)
    assert needed("exact", count, 0.5, alpha=ALPHA, margin=0.02) is None
    assert needed("mixture", count, 0.5 - 1e-7, alpha=ALPHA, margin=0.02) is None
    assert smallest(lambda n: n >= 137, 10) == 137
    assert smallest(lambda n: False, 1) is None


def test_nothing_looked_at_says_nothing() -> None:
    for bound in BOUNDS:
        found = weighed(bound, 0, 0, 0.5, size=10)
        assert (found.passing, found.failing, found.low, found.high) == (1.0, 1.0, 0.0, 1.0)


@pytest.mark.parametrize(("good", "n", "at_least"), [(0, 10_000, 0.5), (10_000, 10_000, 0.5), (0, 1_750, 0.9)])
def test_the_sprt_of_a_hopeless_and_of_a_perfect_model(good: int, n: int, at_least: float) -> None:
    # each ratio is beyond what a float holds one way round
    found = weighed("sprt", good, n, at_least)
    assert (found.passing, found.failing) == pytest.approx((1, 0) if good == 0 else (0, 1), abs=1e-300)
