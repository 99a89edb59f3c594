"""Checks of what the first look saw: randomness, company, probabilities, and how well the twin agrees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
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


def test_probabilities_are_worth_knowing_and_doubt_nothing() -> None:
    found = Probabilities().look(seen(output=OutputKind.PROBABILITIES))
    assert (found.status, found.severity) == (RAISED, Severity.INFO)
    assert "logarithm" in found.explanation


def test_a_twin_that_is_another_model() -> None:
    for agreement, status in ((0.94, RAISED), (0.95, CLEAR)):
        found = TwinFidelity().look(replace(seen(), fidelity=fidelity(agreement)))
        assert (found.status, found.value, found.threshold) == (status, agreement, 0.95)
    assert TwinFidelity().look(replace(seen(), fidelity=None)).status is INCONCLUSIVE
