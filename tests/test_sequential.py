"""Sequential tests against published values, brute force, exact error probabilities and simulation: all on what the
gate judges by, with the limits and streams of `benchmarks.sequential`."""

from __future__ import annotations

from functools import partial
from itertools import product
from math import log

import numpy as np
import pytest
from scipy.stats import betabinom, binom, hypergeom

from auditor.bounds import Count, Evidence, weigh
from auditor.sequential import (
    confidence_sequence,
    confidence_sequence_among,
    drawn,
    log_evidence,
    log_evidence_among,
    mixture,
    random_order,
    sprt,
)
from benchmarks.sequential import Test as Judge  # else pytest takes it for a class of tests
from benchmarks.sequential import limits, one_sided, orders, play, prospects, verdicts

RATES = (0.02, 0.3, 0.48, 0.5, 0.52, 0.7, 0.9, 0.97)
RUNS = 10_000


def too_many(of: int, alpha: float) -> int:
    """The count that chance alone exceeds in one of a million simulations whose true rate is alpha."""
    return int(binom.ppf(1 - 1e-6, of, alpha))


def streams(rate: float, runs: int, length: int, seed: int) -> np.ndarray:
    """The number of good samples so far, `[run, n - 1]`."""
    return (np.random.default_rng(seed).random((runs, length)) < rate).cumsum(axis=1)


def triangle(most: int) -> tuple[np.ndarray, np.ndarray]:
    """Every (good, n) up to so many samples, from the first on."""
    n, good = np.tril_indices(most + 1)
    return good[1:], n[1:]


def asked(bound: str, good: int, n: int, at_least: float, size: int = 20, margin: float = 0.1) -> Evidence:
    """What the gate itself makes of a count."""
    return weigh(bound, Count(low=good, high=good, n=n, size=size), at_least, alpha=0.1, margin=margin)


# What the evidence is


def test_the_mixture_as_published() -> None:
    # confseq's own unit test, whose values are from the authors' R code: BetaBinomialMixture(100, 0.05, 0.2, 0.8) at
    # S = 10 and V = 100, that is 135 of 625 against 0.2; its prior is Beta(r / 0.8, r / 0.2) with r as tuned there
    for side, alpha, published in (("both", 0.05, -0.6941012), ("above", 0.1, -0.07134019)):
        r = 100 / (2 * log(1 / alpha) + log(1 + 2 * log(1 / alpha))) - 0.16
        found = log_evidence(135, 625, 0.2, prior=(r / 0.8, r / 0.2), side=side)
        assert found == pytest.approx(published, abs=1e-6)


@pytest.mark.parametrize(
    ("good", "n", "rate", "prior", "side", "theirs"),
    [
        (60, 100, 0.5, (12.10056097925634, 12.10056097925634), "both", 0.8044656241622761),
        (60, 100, 0.5, (15.30063490685053, 15.30063490685053), "above", 1.470621621960401),
        (10, 200, 0.1, (6.900311655142411, 62.1028048962817), "both", 1.8730031766776705),
        (10, 200, 0.1, (8.67813050380585, 78.10317453425264), "above", -1.612633259923708),
        (450, 500, 0.85, (41.15186993085446, 7.2620946936802), "both", 3.845377000995555),
        (450, 500, 0.85, (51.818783022835085, 9.144491121676781), "above", 4.453289247463374),
        (7, 7, 0.6, (15.150701224070424, 10.100467482713617), "both", 0.45346407923813814),
        (7, 7, 0.6, (19.15079363356316, 12.767195755708775), "above", 0.8622163653471624),
    ],
)
def test_the_mixture_as_confseq_has_it(
    good: int, n: int, rate: float, prior: tuple[float, float], side: str, theirs: float
) -> None:
    # boundaries.beta_binomial_log_mixture of confseq 0.0.11, with v_opt = 50
    assert log_evidence(good, n, rate, prior, side) == pytest.approx(theirs, rel=1e-9)


def test_below_is_above_of_the_bad() -> None:
    assert log_evidence(30, 100, 0.4, (2, 3), "below") == pytest.approx(log_evidence(70, 100, 0.6, (3, 2), "above"))
    assert log_evidence(900, 1000, 0.1, side="below") == -np.inf  # and no warning


@pytest.mark.parametrize("prior", [(1.0, 1.0), (3.0, 0.5)])
def test_without_replacement_it_is_the_prior_over_the_posterior(prior: tuple[float, float]) -> None:
    size, (a, b) = 30, prior
    for n in range(size + 1):
        for good in range(n + 1):
            totals = np.arange(good, size - (n - good) + 1)
            before = betabinom.logpmf(totals, size, a, b)
            after = betabinom.logpmf(totals - good, size - n, a + good, b + n - good) if n < size else 0
            assert log_evidence_among(good, n, totals, size, prior) == pytest.approx(before - after, abs=1e-9)


def test_evidence_is_a_martingale() -> None:
    good = np.arange(21)
    for rate in RATES:
        assert binom.pmf(good, 20, rate) @ np.exp(log_evidence(good, 20, rate)) == pytest.approx(1)
    for total in (0, 1, 7, 20, 40):
        chance = hypergeom.pmf(good, 40, total, 20)
        possible = chance > 0
        expected = chance[possible] @ np.exp(log_evidence_among(good[possible], 20, total, 40))
        assert expected == pytest.approx(possible.sum() / 21)  # what the urn can't give counts for nothing


def test_of_a_huge_set_drawing_without_replacement_is_drawing_with() -> None:
    assert log_evidence_among(60, 100, 5 * 10**7, 10**8) == pytest.approx(log_evidence(60, 100, 0.5), abs=1e-4)


# Confidence sequences


def test_the_ends_are_where_the_evidence_is() -> None:
    good, n = np.array([0, 1, 5, 50, 499, 500]), np.array([1, 1, 9, 80, 500, 500])
    low, high = confidence_sequence(good, n, 0.05)
    for end, other in ((low, 0), (high, 1)):
        inner = np.abs(end - other) > 1e-9
        assert log_evidence(good[inner], n[inner], end[inner]) == pytest.approx(log(20), abs=1e-6)
        assert (log_evidence(good[~inner], n[~inner], end[~inner]) < log(20)).all()
    assert confidence_sequence(0, 0) == (0, 1)
    assert (low[0], high[-1]) == (0, 1)


def test_the_ends_among_a_set_hold_all_totals_that_the_evidence_leaves() -> None:
    size = 23
    for n in range(size + 1):
        good = np.arange(n + 1)
        low, high = confidence_sequence_among(good, n, size, 0.1)
        for g in good:
            totals = np.arange(g, size - (n - g) + 1)
            kept = totals[log_evidence_among(g, n, totals, size) < log(10)]
            assert (low[g], high[g]) == (kept[0] / size, kept[-1] / size)
            assert len(kept) == kept[-1] - kept[0] + 1


def test_the_sequence_holds_the_rate_at_every_n() -> None:
    low, high = (np.full((301, 301), np.nan) for _ in range(2))
    rows, columns = np.tril_indices(301)
    low[rows, columns], high[rows, columns] = confidence_sequence(columns, rows, 0.1)
    for rate in RATES:
        seen, n = streams(rate, 1000, 300, seed=1), np.arange(1, 301)
        outside = ((low[n, seen] > rate) | (high[n, seen] < rate)).any(axis=1)
        assert outside.sum() <= too_many(1000, 0.1)
        assert outside.sum() >= 5  # nor is it empty talk


@pytest.mark.parametrize("total", [0, 3, 60, 101, 190])
def test_the_sequence_among_a_set_holds_its_share_at_every_n(total: int) -> None:
    size, runs = 200, 500
    rows = np.random.default_rng(2).permuted(np.tile(np.arange(size) < total, (runs, 1)), axis=1)
    low, high = confidence_sequence_among(rows.cumsum(axis=1), np.arange(1, size + 1), size, 0.1)
    outside = ((low > total / size) | (high < total / size)).any(axis=1)
    assert outside.sum() <= too_many(runs, 0.1)
    assert (low[:, -1] == total / size).all()
    assert (high[:, -1] == total / size).all()


# p-values


def test_p_values_in_closed_form() -> None:
    n = np.arange(1, 60)
    passing, failing = mixture(n, n, 0.5)
    assert passing == pytest.approx(np.minimum((n + 1) / 2.0**n, 1), rel=1e-9)
    assert (failing == 1).all()
    assert mixture(0, n, 0.9)[1] == pytest.approx((n + 1) * 0.1**n, rel=1e-9)
    for good in (n, n // 2, 0 * n):
        once = (0.85 / 0.95) ** good * (0.15 / 0.05) ** (n - good)
        assert sprt(good, n, 0.9, 0.05)[0] == pytest.approx(np.minimum(once, 1), rel=1e-9)
        assert sprt(good, n, 0.9, 0.05)[1] == pytest.approx(np.minimum(1 / once, 1), rel=1e-9)
    passing, failing = drawn([8, 2], 10, 0.5, 40)  # fewer than 20 of 40: 19 at most; enough: 20 at least
    chance = [hypergeom.pmf(8, 40, 19, 10), hypergeom.pmf(2, 40, 20, 10)]  # beside 1 / 11 that the prior gives either
    assert (passing[0], failing[1]) == pytest.approx((11 * chance[0], 11 * chance[1]), rel=1e-9)
    assert (passing[1], failing[0]) == (1, 1)


@pytest.mark.parametrize("at_least", [0.0, 0.07, 0.3, 0.5, 0.9, 1.0])
def test_more_good_samples_speak_more_for_passing_and_never_for_both(at_least: float) -> None:
    judges: list[Judge] = [partial(mixture, at_least=at_least), partial(drawn, at_least=at_least, size=60)]
    if 0.05 < at_least < 0.95:
        judges.append(partial(sprt, at_least=at_least, margin=0.05))
    for judge, n in product(judges, range(61)):
        passing, failing = judge(np.arange(n + 1), n)
        assert (np.diff(passing) <= 0).all()
        assert (np.diff(failing) >= 0).all()
        assert np.maximum(passing, failing) == pytest.approx(1)
        assert (np.minimum(passing, failing) >= 0).all()


def test_one_exception_settles_a_threshold_at_an_end() -> None:
    for judge in (mixture, one_sided):
        assert [float(p) for p in judge(9, 10, 1.0)] == [1, 0]
        assert [float(p) for p in judge(10, 10, 1.0)] == [1, 1]
    assert [p.tolist() for p in mixture([0, 1], 10, 0.0)] == [[0, 0], [1, 1]]


def test_no_samples_say_nothing() -> None:
    for p in (mixture(0, 0, 0.5), sprt(0, 0, 0.5, 0.02), drawn(0, 0, 0.5, 10)):
        assert p == (1, 1)
    assert confidence_sequence(0, 0) == (0, 1)
    assert confidence_sequence_among(0, 0, 10) == (0, 1)


@pytest.mark.parametrize("n", [10**4, 10**7])
def test_overwhelming_evidence_is_0_and_1(n: int) -> None:
    assert sprt([n, 0], n, 0.9, 0.05)[0] == pytest.approx([0, 1])
    assert sprt([n, 0], n, 0.9, 0.05)[1] == pytest.approx([1, 0])


@pytest.mark.parametrize("margin", [0.0, -0.02, 0.01, 0.5])
def test_a_margin_that_leaves_no_rates_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match=r"0\.99 ± .* choose another margin"):
        sprt(1, 1, 0.99, margin)


@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_the_interval_and_the_p_values_are_two_sides_of_one_confidence(alpha: float) -> None:
    good, n = triangle(40)
    for at_least in (0.3, 0.5, 0.9):
        for (passing, failing), (low, high) in (
            (mixture(good, n, at_least), confidence_sequence(good, n, alpha)),
            (drawn(good, n, at_least, 40), confidence_sequence_among(good, n, 40, alpha)),
        ):
            assert np.array_equal(passing <= alpha, low >= at_least)
            assert np.array_equal(failing <= alpha, high < at_least)


# The gate itself


def test_the_gate_has_these_p_values() -> None:
    rng = np.random.default_rng(4)
    for size in (1, 7, 100, 5000):
        for _ in range(10):
            n = int(rng.integers(1, size + 1))
            low, high = (int(g) for g in np.sort(rng.integers(0, n + 1, 2)))
            at_least = float(rng.choice([0.1, 0.5, 0.9, low / n]))
            count = Count(low=low, high=high, n=n, size=size)
            for bound, judge in (
                ("mixture", partial(mixture, at_least=at_least)),
                ("sprt", partial(sprt, at_least=at_least, margin=0.05)),
                ("drawn", partial(drawn, at_least=at_least, size=size)),
            ):
                if bound == "sprt" and not 0.05 < at_least < 0.95:
                    continue
                found = weigh(bound, count, at_least, alpha=0.05, margin=0.05)
                assert (found.passing, found.failing) == (judge(low, n)[0], judge(high, n)[1])


@pytest.mark.parametrize("at_least", [0.4, 0.5])
def test_the_gate_stops_where_the_simulations_do(at_least: float) -> None:
    good, n = triangle(14)
    for bound, judge in (
        ("mixture", partial(mixture, at_least=at_least)),
        ("sprt", partial(sprt, at_least=at_least, margin=0.1)),
        ("drawn", partial(drawn, at_least=at_least, size=20)),
    ):
        passes, fails = limits(judge, 14, alpha=0.1, beta=0.1)
        found = [asked(bound, g, k, at_least) for g, k in zip(good.tolist(), n.tolist(), strict=True)]
        signs = [(one.passing <= 0.1) - (one.failing <= 0.1) for one in found]
        assert verdicts((passes[n - 1], fails[n - 1]), good).tolist() == signs
        assert set(signs) == {-1, 0, 1}


# Errors, with a look after every sample


@pytest.mark.parametrize("alpha", [0.05, 0.2])
@pytest.mark.parametrize("gate", [0.3, 0.5, 0.9])
def test_the_mixture_is_wrong_in_at_most_alpha_wherever_one_stops(gate: float, alpha: float) -> None:
    # exact, over all streams
    found = limits(partial(mixture, at_least=gate), 2000, alpha, alpha)
    for off in (-0.1, -0.02, -1e-9, 0, 0.01, 0.08):
        passed, failed = prospects(found, gate + off)
        assert (passed if off < 0 else failed)[-1] <= alpha
    passed, failed = prospects(found, gate)
    assert 0.5 * alpha < passed[-1] + failed[-1] <= alpha  # at the threshold the two together; it uses what it may


def test_with_a_prior_on_either_side_each_is_wrong_in_at_most_alpha() -> None:
    found = limits(partial(one_sided, at_least=0.9), 1000)
    passed, failed = prospects(found, 0.9)
    assert passed[-1] <= 0.05
    assert failed[-1] <= 0.05
    assert passed[-1] + failed[-1] > 0.05  # which one evidence for both would not have done


@pytest.mark.parametrize("gate", [0.5, 0.9])
def test_in_simulated_streams_it_is_wrong_in_at_most_alpha(gate: float) -> None:
    """10,000 streams a rate, with a look after each of 1,000 samples; what is decided is as often as exactly."""
    rng = np.random.default_rng(3)
    for judge, offs in (
        (partial(mixture, at_least=gate), (-0.1, -0.02, 0.0, 0.02)),
        (partial(sprt, at_least=gate, margin=0.02), (-0.05, -0.02, 0.02)),
    ):
        found = limits(judge, 1000)
        for off in offs:
            sign, _ = play(found, gate + off, RUNS, rng)
            assert (sign == (1 if off < 0 else -1)).sum() <= too_many(RUNS, 0.05)
            passed, failed = prospects(found, gate + off)
            for verdict, chance in ((1, passed[-1]), (-1, failed[-1])):
                low, high = binom.ppf([1e-6, 1 - 1e-6], RUNS, chance)
                assert low <= (sign == verdict).sum() <= high


@pytest.mark.parametrize(("alpha", "beta"), [(0.05, 0.05), (0.01, 0.2), (0.2, 0.01)])
@pytest.mark.parametrize(("gate", "margin"), [(0.5, 0.04), (0.9, 0.05), (0.3, 0.1)])
def test_the_sprt_is_wrong_in_at_most_alpha_and_beta_outside_its_margin(
    gate: float, margin: float, alpha: float, beta: float
) -> None:
    found = limits(partial(sprt, at_least=gate, margin=margin), 5000, alpha, beta)
    for below in (margin, 2 * margin):
        passed, failed = prospects(found, gate - below)
        assert passed[-1] <= alpha
        assert passed[-1] + failed[-1] == pytest.approx(1, abs=1e-6)
    for above in (margin, 1.5 * margin):
        assert prospects(found, min(gate + above, 1))[1][-1] <= beta
    assert prospects(found, gate - margin)[0][-1] > 0.6 * alpha  # it uses what it may
    assert prospects(found, gate + margin)[1][-1] > 0.3 * beta


def test_the_sprt_takes_what_wald_expects() -> None:
    # his formula, doi 10.1214/aoms/1177731118: what the evidence reaches over what a sample adds, without overshoot
    passed, failed = prospects(limits(partial(sprt, at_least=0.5, margin=0.02), 20_000), 0.52)
    error = failed[-1]
    each = 0.52 * log(0.52 / 0.48) + 0.48 * log(0.48 / 0.52)
    assert (1 - passed - failed).sum() == pytest.approx(((1 - error) - error) * log(20) / each, rel=0.03)


@pytest.mark.parametrize("gate", [0.3, 0.5, 0.9])
def test_from_a_set_it_is_wrong_in_at_most_alpha_of_all_orders(gate: float) -> None:
    # exact: how many of the orders lead to each (n, good) without a decision before
    size, alpha = 80, 0.1
    passes, fails = limits(partial(drawn, at_least=gate, size=size), size, alpha, alpha)
    enough = round(gate * size)
    for total in {0, 20, enough - 10, enough - 1, enough, enough + 1, size - 5, size}:
        alive, wrong = np.ones(1), 0.0
        for n in range(1, size + 1):
            hit = np.clip((total - np.arange(n)) / (size - n + 1), 0, 1)
            alive = np.append(alive * (1 - hit), 0) + np.append(0, alive * hit)
            signs = verdicts((passes[n - 1], fails[n - 1]), np.arange(n + 1))
            wrong += alive[signs == (1 if total < enough else -1)].sum()
            alive = np.where(signs, 0, alive)
        assert wrong <= alpha
        assert alive.sum() == pytest.approx(0, abs=1e-12)  # all settled by the end
        assert wrong > 0.05 * alpha or abs(total - enough + 0.5) > 1  # it uses some of what it may


@pytest.mark.parametrize("total", [80, 99, 100, 120])
def test_in_simulated_orders_it_is_wrong_in_at_most_alpha(total: int) -> None:
    found = limits(partial(drawn, at_least=0.5, size=200), 200)
    signs = verdicts(found, orders(total, 200, RUNS, np.random.default_rng(5)))
    first = signs[np.arange(RUNS), (signs != 0).argmax(axis=1)]
    assert (first == (1 if total < 100 else -1)).sum() <= too_many(RUNS, 0.05)
    assert (first != 0).all()


# How soon


@pytest.mark.parametrize(
    ("bound", "gate", "rate", "median", "late"),
    [  # of 10,000 streams, as benchmarks/RESULTS.md has them
        ("mixture", 0.5, 0.3, 47, 105),
        ("mixture", 0.5, 0.4, 208, 479),
        ("mixture", 0.5, 0.45, 974, 2088),
        ("mixture", 0.5, 0.55, 989, 2130),
        ("mixture", 0.9, 0.85, 378, 879),
        ("mixture", 0.9, 0.95, 328, 614),
        ("sprt", 0.5, 0.4, 180, 278),
        ("sprt", 0.5, 0.48, 692, 1662),
        ("sprt", 0.5, 0.5, 1102, 2996),
        ("sprt", 0.9, 0.92, 260, 625),
        ("sprt", 0.9, 0.95, 129, 199),
    ],
)
def test_it_is_done_as_soon_as_published(bound: str, gate: float, rate: float, median: int, late: int) -> None:
    judge: Judge = partial(mixture, at_least=gate) if bound == "mixture" else partial(sprt, at_least=gate, margin=0.02)
    done = np.sum(prospects(limits(judge, 3500), rate), axis=0)
    for n, share in ((median, 0.5), (late, 0.9)):
        assert done[n - 1] - 0.02 < share < done[n] + 0.02  # four standard errors of a share of 10,000 streams


def test_without_exception_it_ends_soon() -> None:
    n = np.arange(1, 100)
    for judge, first in ((partial(mixture, at_least=0.5), 8), (partial(sprt, at_least=0.5, margin=0.02), 38)):
        passes, fails = limits(judge, 99)  # 2^8 / 9 > 20 and not 2^7 / 8; (52 / 48)^38 > 20
        assert np.flatnonzero(passes <= n)[0] + 1 == np.flatnonzero(fails >= 0)[0] + 1 == first


# What is certain


def test_certain_is_what_every_way_to_go_on_agrees_on() -> None:
    for size, gate in product((1, 3, 5), (0.0, 0.2, 0.5, 2 / 3, 1.0)):
        for n in range(size + 1):
            for good in range(n + 1):
                ways = {(good + more) / size >= gate for more in range(size - n + 1)}
                found = asked("certain", good, n, gate, size)
                assert (found.passing, found.failing) == (float(False in ways), float(True in ways))


def test_a_set_never_takes_longer_than_certainty() -> None:
    for size, gate in product((1, 7, 20), (0.0, 0.29, 3 / 7, 0.5, 1.0)):
        for good, n in zip(*triangle(size), strict=True):
            certain = asked("certain", int(good), int(n), gate, size)
            passing, failing = drawn(good, n, gate, size)
            assert passing <= certain.passing
            assert failing <= certain.failing
            if n == size:
                assert (passing, failing) == (certain.passing, certain.failing)


def test_shares_are_compared_as_written() -> None:
    for k in range(101):  # 0.29 * 100 is 28.999999999999996, 0.07 * 100 is 7.000000000000001
        assert asked("certain", k, 100, k / 100, 100).passing == 0
        assert drawn(k, 100, k / 100, 100) == (0, 1)
        assert k == 0 or drawn(k - 1, 100, k / 100, 100) == (1, 0)


# Streams


def test_the_order_is_random_and_always_the_same() -> None:
    assert random_order(8, seed=0).tolist() == [3, 4, 2, 1, 5, 0, 6, 7]
    assert sorted(random_order(1000, seed=5)) == list(range(1000))
    counted = np.zeros((4, 4))
    for seed in range(2000):
        counted[np.arange(4), random_order(4, seed)] += 1
    low, high = binom.ppf([1e-7, 1 - 1e-7], 2000, 1 / 4)
    assert ((low <= counted) & (counted <= high)).all()
    assert not np.array_equal(random_order(100, 1), random_order(100, 2))


def test_prospects_and_limits_by_brute_force() -> None:
    passed, failed = prospects(limits(partial(mixture, at_least=0.5), 10, 0.6, 0.6), 0.7)
    code = np.arange(2**10)[:, None]
    seen = (code >> np.arange(10) & 1).cumsum(axis=1)
    passing, failing = mixture(seen, np.arange(1, 11), 0.5)
    signs = (passing <= 0.6).astype(int) - (failing <= 0.6)
    first = signs[code[:, 0], (signs != 0).argmax(axis=1)]
    chance = 0.7 ** seen[:, -1] * 0.3 ** (10 - seen[:, -1])
    assert (passed[-1], failed[-1]) == pytest.approx((chance[first > 0].sum(), chance[first < 0].sum()))
    assert 0 < chance[first == 0].sum() < 1
