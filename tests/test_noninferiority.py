"""The exact test against a sum over everything that may be observed, and its errors at the margin."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, multinomial

from auditor.noninferiority import SHARES, exact, normal, score

ALPHA = 0.05


def summed(gained: int, lost: int, n: int, margin: float) -> tuple[float, float]:
    """The same by the trinomial distribution, table by table."""
    up, down = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    there = up + down <= n
    scores = np.where(there, score(up, down, n, margin), np.nan)
    seen = float(score(np.array([gained]), np.array([lost]), n, margin)[0])
    room = (1 - margin) / 2
    passing = failing = 0.0
    for share in [0.0, *np.geomspace(min(0.02 / n, room / 2), room, SHARES)]:
        chances = np.zeros_like(scores)
        rates = [share, share + margin, max(1 - 2 * share - margin, 0)]
        chances[there] = multinomial(n, rates).pmf(np.stack([up[there], down[there], n - up[there] - down[there]], -1))
        passing = max(passing, float(chances[there & (scores >= seen - 1e-9)].sum()))
        failing = max(failing, float(chances[there & (scores <= seen + 1e-9)].sum()))
    return min(passing, 1.0), min(failing, 1.0)


@pytest.mark.parametrize(
    ("gained", "lost", "n", "margin"),
    [(0, 0, 30, 0.02), (1, 3, 30, 0.05), (5, 2, 25, 0.1), (0, 2, 30, 0.02), (10, 10, 30, 0.0), (0, 20, 20, 0.3)],
)
def test_it_is_the_sum_over_all_tables(gained: int, lost: int, n: int, margin: float) -> None:
    assert exact(gained, lost, n, margin) == pytest.approx(summed(gained, lost, n, margin), abs=1e-9)


@pytest.mark.parametrize(("n", "margin"), [(133, 0.02), (156, 0.02), (268, 0.01), (63, 0.05)])
def test_where_a_model_only_loses_it_keeps_alpha_and_the_approximation_does_not(n: int, margin: float) -> None:
    """There what is lost is binomial, so errors at the margin are exact: 6.8 % and 9.4 % by the normal score."""
    wrong, nominal = [0.0, 0.0], [0.0, 0.0]
    for lost in range(n + 1):
        chance = float(binom.pmf(lost, n, margin))
        if chance < 1e-12:
            continue
        by_score = normal(0, lost, n, margin)
        for kind, (true, near) in enumerate(zip(exact(0, lost, n, margin), (by_score, 1 - by_score), strict=True)):
            wrong[kind] += chance * (true <= ALPHA)
            nominal[kind] += chance * (near <= ALPHA)
    assert max(wrong) <= ALPHA
    assert max(nominal) > ALPHA


def test_of_many_pairs_it_is_the_normal_score() -> None:
    for gained, lost in ((60, 100), (100, 130), (200, 260)):
        near = normal(gained, lost, 4000, 0.02)
        passing, failing = exact(gained, lost, 4000, 0.02)
        assert passing == pytest.approx(near, rel=0.1, abs=1e-4)
        assert failing == pytest.approx(1 - near, rel=0.1, abs=1e-3)


def test_no_evidence_is_none() -> None:
    assert exact(0, 0, 10, 0.0) == (1.0, 1.0)
    passing, failing = exact(0, 0, 1000, 0.02)
    assert passing < 1e-5
    assert failing == 1.0
