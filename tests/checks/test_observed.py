"""Checks of what the first look saw: randomness, company, probabilities, and how well the twin agrees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from auditor.plugins.attacks.fgsm import FGSM
from auditor.plugins.checks.companions import Companions
from auditor.plugins.checks.fidelity import TwinFidelity
from auditor.plugins.checks.probabilities import Probabilities
from auditor.plugins.checks.randomised import Randomised
from records import fidelity

from auditor.access import OutputKind
from auditor.bench import LinearTarget, linear_bench
from auditor.check import Check, Evidence
from auditor.record import FindingStatus, Severity
from auditor.testing import evidence
from auditor.threat import ThreatModel

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE


class Noisy(LinearTarget):
    """Another answer every time."""

    rng = np.random.default_rng(0)

    def _run(self, x: np.ndarray) -> np.ndarray:
        scores = super()._run(x)
        return (scores + self.rng.normal(size=scores.shape)).astype(np.float32)


class Mixing(LinearTarget):
    """Scales its input by the largest value in the batch."""

    def _run(self, x: np.ndarray) -> np.ndarray:
        return super()._run(x / np.abs(x).max())


def seen(kind: type[LinearTarget] = LinearTarget, n: int = 20, **changes: Any) -> Evidence:
    made = linear_bench(n=n)
    assert isinstance(made.target, LinearTarget)
    target = kind(made.target.weight, made.target.bias)
    for name, value in changes.items():
        setattr(target, name, value)
    return evidence(replace(made, target=target))


@pytest.mark.parametrize("check", [Randomised(), Companions(), Probabilities(), TwinFidelity()])
def test_an_honest_linear_model_is_clear(check: Check) -> None:
    assert check.look(seen()).status is CLEAR


def test_randomness_masks() -> None:
    found = Randomised().look(seen(Noisy))
    assert found.status is RAISED
    assert found.value is not None
    assert found.threshold is not None
    assert found.value > found.threshold
    assert Randomised.masks
    assert Companions().look(seen(Noisy)).status is INCONCLUSIVE


def test_company_that_changes_answers() -> None:
    assert Companions().look(seen(Mixing)).status is RAISED
    assert Companions().look(seen(Mixing, n=1)).status is INCONCLUSIVE
    assert Companions().look(seen(Mixing, batch=1)).status is CLEAR


class Swayed(LinearTarget):
    """Answers a lone input as it is, one among others as if it were all grey: every score then says class 0."""

    def _run(self, x: np.ndarray) -> np.ndarray:
        return super()._run(x if len(x) == 1 else 0.5 * np.ones_like(x))


def test_adversarial_examples_are_judged_again_in_company() -> None:
    """The weak examples fall at batch 1; in company every input gets the same answer, whatever was done to it."""
    made = linear_bench(n=20, threat=ThreatModel(epsilon=0.5))
    target = made.target
    assert isinstance(target, LinearTarget)
    alone = evidence(replace(made, target=Swayed(target.weight, target.bias)), FGSM())
    found = sorted(alone.ledger.adversarial)
    assert found
    grey = int(alone.target.scores(0.5 * np.ones((2, *alone.samples.shape), np.float32), batch=2)[0].argmax())
    labels = alone.samples.labels[found]
    text = Companions().look(alone).explanation
    assert f"15 companions {(labels != grey).sum()} of {len(found)} adversarial" in text
    assert f"and {(labels == grey).sum()} of their {len(found)} clean" in text


def test_a_file_deployed_at_batch_1_has_no_company() -> None:
    found = Companions().look(seen(Mixing, deployed_batch=1))
    assert found.status is CLEAR
    assert "deployed at batch 1" in found.explanation
    assert Companions().look(seen(Mixing, deployed_batch=4)).status is RAISED


def test_probabilities_are_worth_knowing_and_doubt_nothing() -> None:
    found = Probabilities().look(seen(output=OutputKind.PROBABILITIES))
    assert (found.status, found.severity) == (RAISED, Severity.INFO)
    assert "logarithm" in found.explanation


def test_a_twin_that_is_another_model() -> None:
    for agreement, status in ((0.94, RAISED), (0.95, CLEAR)):
        found = TwinFidelity().look(replace(seen(), fidelity=fidelity(agreement)))
        assert (found.status, found.value, found.threshold) == (status, agreement, 0.95)
    assert TwinFidelity().look(replace(seen(), fidelity=None)).status is INCONCLUSIVE
