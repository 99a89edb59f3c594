"""The first look: labels one at a time, answers that change, answers that depend on company."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.observe import PROBED, REPEATS, SAME, VOTES, near_chance, observe
from auditor.samples import Samples
from auditor.testing import LinearTarget

INPUTS = np.random.default_rng(0).uniform(-1, 1, (40, 5)).astype(np.float32)
SAMPLES = Samples(inputs=INPUTS, labels=np.zeros(40, np.int64), ids=np.arange(40))
WEIGHT = np.random.default_rng(1).normal(size=(3, 5))


class Noisy(LinearTarget):
    """Adds seeded noise of this size to every answer."""

    def __init__(self, noise: float):
        super().__init__(WEIGHT, np.zeros(3))
        self.noise, self.rng = noise, np.random.default_rng(2)
        self.fit((5,))

    def _run(self, x: np.ndarray) -> np.ndarray:
        scores = super()._run(x)
        return (scores + self.noise * self.rng.normal(size=scores.shape)).astype(np.float32)


class Mixing(LinearTarget):
    """Scales its input by the largest value in the batch, as dynamic quantisation does."""

    def __init__(self) -> None:
        super().__init__(WEIGHT, np.ones(3))
        self.fit((5,))

    def _run(self, x: np.ndarray) -> np.ndarray:
        return super()._run(x / np.abs(x).max())


def test_a_deterministic_target() -> None:
    target = Noisy(0.0)
    seen = observe(target, SAMPLES)
    expected = (INPUTS @ WEIGHT.T).argmax(axis=1)
    np.testing.assert_array_equal(seen.clean_labels, expected)
    assert seen.clean_labels.dtype == np.int64
    assert not seen.randomised
    assert not seen.batch_dependent
    assert seen.votes == 1
    assert seen.scale == pytest.approx(np.abs(INPUTS @ WEIGHT.T).max(), rel=1e-6)
    assert target.queries == 40 + REPEATS * PROBED  # n + 160


def test_a_randomised_target_is_asked_often_and_labelled_by_majority() -> None:
    target = Noisy(0.2)
    seen = observe(target, SAMPLES)
    assert seen.randomised
    assert not seen.batch_dependent  # the randomness hides it
    assert seen.votes == VOTES
    scores = np.sort(INPUTS @ WEIGHT.T, axis=1)
    clear = scores[:, -1] - scores[:, -2] > 0.4  # two standard deviations: hardly ever outvoted
    assert clear.sum() > 20
    np.testing.assert_array_equal(seen.clean_labels[clear], (INPUTS @ WEIGHT.T).argmax(axis=1)[clear])
    assert target.queries == 40 + REPEATS * PROBED + (VOTES - 1) * 40


def test_noise_below_rounding_is_no_randomness() -> None:
    assert not observe(Noisy(1e-6), SAMPLES).randomised
    assert observe(Noisy(1e-3), SAMPLES).randomised


def test_company_that_changes_answers() -> None:
    seen = observe(Mixing(), SAMPLES)
    assert seen.batch_dependent
    assert not seen.randomised
    assert seen.companion_difference > SAME


def test_a_single_sample() -> None:
    seen = observe(Noisy(0.0), SAMPLES.take([0]))
    assert (seen.probed, seen.batch_dependent) == (1, False)


@pytest.mark.parametrize(
    ("accuracy", "classes", "n", "guessing"),
    [
        (0.10, 10, 10_000, True),
        (0.144, 10, 10_000, True),  # 5 % of the way up
        (0.146, 10, 10_000, False),
        (0.30, 10, 10, False),
        (0.28, 10, 10, True),  # two standard errors: 0.1 + 2 * 0.095
        (0.5, 2, 1000, True),
        (0.6, 2, 1000, False),
        (0.001, 1000, 200, True),
        (0.76, 1000, 200, False),
        (0.0, 10, 100, True),
    ],
)
def test_near_chance(accuracy: float, classes: int, n: int, guessing: bool) -> None:
    assert near_chance(accuracy, classes, n) is guessing
