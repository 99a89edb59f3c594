from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch

from auditor import Defense, OutputKind, UsageError
from auditor.chance import CHANCE
from auditor.host import Host
from auditor.resolve import make_defense
from auditor.testing import LinearTarget, check_defense

HOST = Host.load(bundled=["auditor.plugins.defenses.smoothing"], installed=False)
N = 4000


def smoothing(**options: Any) -> Defense:
    return make_defense({"name": "smoothing", **options}, HOST)


def line() -> LinearTarget:
    """Class 1 where the one feature is above 0."""
    return LinearTarget(np.array([[0.0], [1.0]]), np.zeros(2))


def test_it_keeps_its_contract() -> None:
    check_defense(smoothing())
    check_defense(smoothing(sigma=2.0, draws=3, vote="majority"), shape=(5,))


def test_noise_has_its_sigma_and_no_mean() -> None:
    CHANCE.begin(0)
    x = np.full((N, 1), 0.7, np.float32)
    y = smoothing(sigma=0.25).transform(x)
    assert y.mean() == pytest.approx(0.7, abs=4 * 0.25 / N**0.5)
    assert y.std() == pytest.approx(0.25, rel=0.05)


def test_a_majority_is_the_share_that_a_normal_distribution_says() -> None:
    """At 0.1 with noise of 0.2, a copy is above 0 with probability Φ(1/2)."""
    target = smoothing(sigma=0.2, draws=N, vote="majority").wrap_target(line())
    target.fit((1,))
    CHANCE.begin(0)
    shares = target.scores(np.full((1, 1), 0.1, np.float32))[0]
    chance = NormalDist().cdf(0.5)
    assert target.output is OutputKind.PROBABILITIES
    assert shares.sum() == pytest.approx(1)
    assert shares[1] == pytest.approx(chance, abs=4 * (chance * (1 - chance) / N) ** 0.5)
    assert (target.queries, target.inner.queries) == (1, N)  # type: ignore[attr-defined]


def test_a_mean_is_that_of_the_scores() -> None:
    target = smoothing(sigma=0.2, draws=N).wrap_target(line())
    target.fit((1,))
    CHANCE.begin(0)
    scores = target.scores(np.full((1, 1), 0.1, np.float32))[0]
    assert target.output is OutputKind.LOGITS
    assert scores == pytest.approx([0, 0.1], abs=4 * 0.2 / N**0.5)


def test_the_twin_averages_as_many_draws_and_says_what_they_cost() -> None:
    target = smoothing(sigma=0.2, draws=50).wrap_target(line())
    target.fit((1,))
    twin = target.twin()
    assert (twin.random, twin.passes, twin.surrogates) == (True, 50, ())
    x = torch.full((1, 1), 0.1)
    CHANCE.begin(0)
    found = twin.scores(x)
    CHANCE.begin(0)
    assert found.numpy() == pytest.approx(target.scores(x.numpy()), abs=1e-6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sigma": 0.0}, "sigma above 0, got 0"),
        ({"draws": 0}, "from 1 to 10000 draws, got 0"),
        ({"vote": "best"}, "got 'best'"),
    ],
)
def test_options_that_can_not_be_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        smoothing(**options)
