"""Sequential gates against published values, brute force, exact error probabilities and simulation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import permutations
from math import log

import numpy as np
import pytest
from scipy.stats import betabinom, binom, hypergeom

from auditor.sequential import (
    Verdict,
    by_file,
    by_mixture,
    by_sprt,
    confidence_sequence,
    confidence_sequence_among,
    judge_stream,
    log_evidence,
    log_evidence_among,
    prospects,
    random_order,
    settled,
)

RATES = (0.02, 0.3, 0.48, 0.5, 0.52, 0.7, 0.9, 0.97)


def too_many(of: int, alpha: float) -> int:
    """The count that chance alone exceeds in one of a million simulations whose true rate is alpha."""
    return int(binom.ppf(1 - 1e-6, of, alpha))


def streams(rate: float, runs: int, length: int, seed: int) -> np.ndarray:
    """The number of good samples so far, `[run, n - 1]`."""
    return (np.random.default_rng(seed).random((runs, length)) < rate).cumsum(axis=1)


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
    low, high = (np.full((601, 601), np.nan) for _ in range(2))
    rows, columns = np.tril_indices(601)
    low[rows, columns], high[rows, columns] = confidence_sequence(columns, rows, 0.1)
    for rate in RATES:
        seen, n = streams(rate, 1000, 600, seed=1), np.arange(1, 601)
        outside = ((low[n, seen] > rate) | (high[n, seen] < rate)).any(axis=1)
        assert outside.sum() <= too_many(1000, 0.1)
        assert outside.sum() >= 5  # nor is it empty talk


@pytest.mark.parametrize("total", [0, 3, 60, 101, 190])
def test_the_sequence_among_a_set_holds_its_share_at_every_n(total: int) -> None:
    size, runs = 200, 1000
    rows = np.random.default_rng(2).permuted(np.tile(np.arange(size) < total, (runs, 1)), axis=1)
    low, high = confidence_sequence_among(rows.cumsum(axis=1), np.arange(1, size + 1), size, 0.1)
    outside = ((low > total / size) | (high < total / size)).any(axis=1)
    assert outside.sum() <= too_many(runs, 0.1)
    assert (low[:, -1] == total / size).all()
    assert (high[:, -1] == total / size).all()


# Errors, with a look after every sample


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("gate", [0.3, 0.5, 0.9])
def test_the_mixture_is_wrong_in_at_most_alpha_wherever_one_stops(gate: float, one_sided: bool) -> None:
    # exact, over all streams
    for alpha, rate, most in (
        *((0.05, gate + off, 2000) for off in (-0.02, -1e-9, 0)),
        *((0.2, gate + off, 400) for off in (-0.1, -0.01, 0, 0.01, 0.08)),
    ):
        passed, failed = prospects(partial(by_mixture, at_least=gate, alpha=alpha, one_sided=one_sided), rate, most)
        assert (passed if rate < gate else failed)[-1] <= alpha


def test_the_mixture_in_simulated_streams() -> None:
    n = np.arange(1, 2001)
    for gate, rate in ((0.5, 0.5), (0.5, 0.48), (0.9, 0.91)):
        signs = by_mixture(streams(rate, 400, 2000, seed=3), n, gate)
        first = signs[np.arange(400), (signs != 0).argmax(axis=1)]
        assert (first == (1 if rate < gate else -1)).sum() <= too_many(400, 0.05)
        passed, failed = prospects(partial(by_mixture, at_least=gate), rate, 2000)
        for sign, chance in ((1, passed[-1]), (-1, failed[-1])):
            low, high = binom.ppf([1e-6, 1 - 1e-6], 400, chance)
            assert low <= (first == sign).sum() <= high


@pytest.mark.parametrize("one_sided", [False, True])
def test_one_exception_settles_a_gate_at_an_end(one_sided: bool) -> None:
    for good, gate, sign in ((9, 1.0, -1), (10, 1.0, 0), (1, 0.0, 1), (0, 0.0, 0)):
        assert by_mixture(good, 10, gate, one_sided=one_sided) == sign


@pytest.mark.parametrize(("alpha", "beta"), [(0.05, 0.05), (0.01, 0.2), (0.2, 0.01)])
@pytest.mark.parametrize(("gate", "margin"), [(0.5, 0.02), (0.9, 0.05), (0.3, 0.1)])
def test_the_sprt_is_wrong_in_at_most_alpha_and_beta_outside_its_margin(
    gate: float, margin: float, alpha: float, beta: float
) -> None:
    rule = partial(by_sprt, at_least=gate, margin=margin, alpha=alpha, beta=beta)
    for below in (margin, 2 * margin):
        passed, failed = prospects(rule, gate - below, 20_000)
        assert passed[-1] <= alpha
        assert passed[-1] + failed[-1] == pytest.approx(1, abs=1e-6)
    for above in (margin, 1.5 * margin):
        assert prospects(rule, gate + above, 20_000)[1][-1] <= beta
    assert prospects(rule, gate - margin, 20_000)[0][-1] > 0.6 * alpha  # it uses what it may


def test_the_sprt_takes_what_wald_expects() -> None:
    # his formula, doi 10.1214/aoms/1177731118: what the evidence reaches over what a sample adds, without overshoot
    passed, failed = prospects(partial(by_sprt, at_least=0.5), 0.52, 20_000)
    error = failed[-1]
    each = 0.52 * log(0.52 / 0.48) + 0.48 * log(0.48 / 0.52)
    assert (1 - passed - failed).sum() == pytest.approx(((1 - error) - error) * log(20) / each, rel=0.03)


def test_from_a_file_the_gate_is_wrong_in_at_most_alpha() -> None:
    # exact, over all orders: how many of them lead to each (n, good) without a decision before
    size, gate, alpha = 80, 0.5, 0.1
    for total in (20, 30, 38, 39, 40, 41, 50, 60):
        alive, wrong = np.ones(1), 0.0
        for n in range(1, size + 1):
            good = np.arange(n + 1)
            left = size - n + 1
            hit = np.clip((total - np.arange(n)) / left, 0, 1)
            alive = np.append(alive * (1 - hit), 0) + np.append(0, alive * hit)
            possible = (good <= total) & (n - good <= size - total)
            signs = np.where(possible, by_file(np.where(possible, good, n), n, gate, size, alpha), 0)
            wrong += alive[signs == (1 if total / size < gate else -1)].sum()
            alive = np.where(signs, 0, alive)
        assert wrong <= alpha
        assert alive.sum() == pytest.approx(0, abs=1e-12)  # all settled by the end


# What is certain


def test_settled_is_what_every_way_to_go_on_agrees_on() -> None:
    for size in (1, 3, 5):
        for gate in (0.0, 0.2, 0.5, 2 / 3, 1.0):
            for n in range(size + 1):
                for good in range(n + 1):
                    ways = {(good + more) / size >= gate for more in range(size - n + 1)}
                    expected = 0 if len(ways) == 2 else 1 if ways.pop() else -1
                    assert settled(good, n, gate, size) == expected


def test_shares_are_compared_as_written() -> None:
    for k in range(101):
        assert settled(k, 100, k / 100, 100) == 1  # 0.29 * 100 is 28.999999999999996, 0.07 * 100 is 7.000000000000001
        assert judge_stream([True] * k + [False] * (100 - k), k / 100, mode="file", size=100).verdict is Verdict.PASSED


def test_a_file_never_takes_longer_than_certainty() -> None:
    for stream in set(permutations([True] * 4 + [False] * 3)):
        for gate in (3 / 7, 4 / 7, 5 / 7):
            certain, soon = (judge_stream(stream, gate, 0.05, mode, size=7) for mode in ("set", "file"))
            assert soon.n <= certain.n
            assert certain.verdict == (Verdict.PASSED if gate <= 4 / 7 else Verdict.FAILED)
            if soon.n == certain.n:
                assert soon.verdict == certain.verdict


# Streams


def endless(good: bool) -> Iterator[bool]:
    while True:
        yield good


def test_it_takes_no_sample_more_than_it_needs() -> None:
    source = iter([False] * 100)
    found = judge_stream(source, 0.9, mode="set", size=100)
    assert (found.verdict, found.good, found.n) == (Verdict.FAILED, 0, 11)
    assert found.saved == pytest.approx(0.89)
    assert (found.low, found.high) == (0, 0.89)
    assert len(list(source)) == 89


@pytest.mark.parametrize("mode", ["mixture", "sprt"])
@pytest.mark.parametrize("good", [True, False])
def test_without_exception_it_ends_soon(mode: str, good: bool) -> None:
    found = judge_stream(endless(good), 0.5, mode=mode)  # type: ignore[arg-type]
    assert found.verdict == (Verdict.PASSED if good else Verdict.FAILED)
    assert found.n == (8 if mode == "mixture" else 38)  # 2^8 / 9 > 20 and not 2^7 / 8; (52 / 48)^38 > 20
    assert found.low > 0.5 if good else found.high < 0.5
    assert found.saved is None


@pytest.mark.parametrize("mode", ["mixture", "file"])
def test_the_interval_and_the_verdict_are_two_sides_of_one_confidence(mode: str) -> None:
    for seed, rate in enumerate((0.3, 0.45, 0.5, 0.55, 0.7)):
        stream = np.random.default_rng(seed).random(400) < rate
        found = judge_stream(stream, 0.5, mode=mode, size=400)  # type: ignore[arg-type]
        if found.verdict is Verdict.OPEN:
            assert (found.n, found.why) == (400, f"{found.good} of 400 good leave it open")
        assert (found.verdict is Verdict.PASSED) == (found.low >= 0.5)
        assert (found.verdict is Verdict.FAILED) == (found.high < 0.5)
        earlier = judge_stream(stream[: found.n - 1], 0.5, mode=mode, size=400)  # type: ignore[arg-type]
        assert earlier.verdict is Verdict.OPEN


def test_no_samples_settle_nothing() -> None:
    found = judge_stream([], 0.5)
    assert (found.verdict, found.n, found.low, found.high) == (Verdict.OPEN, 0, 0, 1)


def test_what_makes_no_sense_is_refused() -> None:
    for at_least, alpha in ((1.1, 0.05), (-0.1, 0.05), (0.5, 0), (0.5, 1), (float("nan"), 0.05)):
        with pytest.raises(ValueError, match="a gate needs"):
            judge_stream([True], at_least, alpha)
    with pytest.raises(ValueError, match="'file' judges a given set"):
        judge_stream([True], 0.5, mode="file")
    with pytest.raises(ValueError, match="more samples than the 2"):
        judge_stream([True, False, True], 0.5, mode="mixture", size=2)
    for margin in (0.0, -0.02, 0.01, 0.5):
        with pytest.raises(ValueError, match=r"0\.99 ± .* choose another margin"):
            judge_stream([True], 0.99, mode="sprt", margin=margin)


def test_the_order_is_random_and_always_the_same() -> None:
    assert random_order(8, seed=0).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    assert sorted(random_order(1000, seed=5)) == list(range(1000))
    counted = np.zeros((4, 4))
    for seed in range(2000):
        counted[np.arange(4), random_order(4, seed)] += 1
    low, high = binom.ppf([1e-7, 1 - 1e-7], 2000, 1 / 4)
    assert ((low <= counted) & (counted <= high)).all()
    assert not np.array_equal(random_order(100, 1), random_order(100, 2))


def test_prospects_by_brute_force() -> None:
    gate = partial(by_mixture, at_least=0.5, alpha=0.6)
    passed, failed = prospects(gate, 0.7, 10)
    chances = {1: 0.0, -1: 0.0, 0: 0.0}
    for code in range(2**10):
        found = judge_stream([bool(code >> i & 1) for i in range(10)], 0.5, 0.6)
        sign = {Verdict.PASSED: 1, Verdict.FAILED: -1, Verdict.OPEN: 0}[found.verdict]
        good = code.bit_count()
        chances[sign] += 0.7**good * 0.3 ** (10 - good)
    assert (passed[-1], failed[-1]) == pytest.approx((chances[1], chances[-1]))
    assert 0 < chances[0] < 1
