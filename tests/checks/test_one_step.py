"""One step against many, and against one from a random point: on linear models, and on gradients bent on purpose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from auditor.plugins.checks.one_step import OneStep, RandomStep
from bent import bent, right_at_first, wrong_at_first

from auditor.access import Access
from auditor.bench import linear_bench
from auditor.record import FindingStatus
from auditor.testing import check_check, evidence
from auditor.threat import Norm, ThreatModel

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE


@pytest.mark.parametrize("check", [OneStep(), RandomStep()])
def test_a_linear_model_is_clear(check: OneStep | RandomStep) -> None:
    assert check.look(evidence(linear_bench(n=40, distance=0.1).at(0.12))).status is CLEAR
    check_check(check)


def test_a_random_step_first_halves_what_one_step_gains_on_a_linear_loss() -> None:
    """FGSM breaks all at 1.5 times the distance; R+FGSM, whose random half adds nothing in the mean, needs twice it."""
    made = linear_bench(n=64, shape=(400,), distance=0.1)
    found = RandomStep().look(evidence(made.at(0.15)))
    assert (found.status, found.value) == (CLEAR, -1.0)
    index = np.arange(64)
    lab = evidence(made.at(0.25)).lab
    assert lab.play(lab.attack("rfgsm"), index).broken.all()
    gain = np.mean(lab.play(lab.attack("rfgsm"), index).margin)
    whole = np.mean(lab.play(lab.attack("fgsm"), index).margin)
    clean = np.mean(lab.margins(made.samples.inputs, index))
    assert (clean - gain) / (clean - whole) == pytest.approx(0.5, abs=0.05)


def test_a_gradient_that_is_right_at_the_data_alone() -> None:
    found = OneStep().look(evidence(bent(linear_bench(n=40, distance=0.1).at(0.12), right_at_first)))
    assert found.status is RAISED
    assert found.value == 1.0
    assert OneStep.masks


def test_a_gradient_that_is_wrong_at_the_data_alone() -> None:
    made = bent(linear_bench(n=40, shape=(400,), distance=0.1).at(0.25), wrong_at_first)
    found = RandomStep().look(evidence(made))
    assert found.status is RAISED
    assert found.value == 1.0
    assert RandomStep.masks


def test_what_is_missing_is_inconclusive() -> None:
    made = linear_bench(n=4, distance=0.1).at(0.12)
    for odd in (replace(made, access=Access.SCORE), replace(made, threat=ThreatModel(norm=Norm.L1, epsilon=0.1))):
        assert OneStep().look(evidence(odd)).status is INCONCLUSIVE
        assert RandomStep().look(evidence(odd)).status is INCONCLUSIVE
