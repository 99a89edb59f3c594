"""Gradients that turn within a tenth of epsilon are found; those of honest nets are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from auditor.plugins.checks.shattered import Shattered
from nets import BOUNDS, Ripples, mlp, net_bench

from auditor.access import Access
from auditor.bench import linear_bench
from auditor.readings import cosines
from auditor.record import FindingStatus
from auditor.testing import check_check, evidence
from auditor.threat import Norm, ThreatModel

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE
CHECK = Shattered()


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1])
def test_a_linear_model_has_one_gradient(norm: Norm) -> None:
    made = linear_bench(n=20, threat=ThreatModel(norm=norm, epsilon=0.1, bounds=BOUNDS))
    found = CHECK.look(evidence(made))
    assert (found.status, found.value) == (CLEAR, 0.0)
    assert "the median cosine is 1," in found.explanation


def test_an_honest_net_is_clear() -> None:
    assert CHECK.look(evidence(net_bench(mlp()))).status is CLEAR


def test_ripples_shatter_a_gradient() -> None:
    """Slopes of 30 cos(30000 x) beside one of 1: the cosine of two such gradients is next to nothing."""
    found = CHECK.look(evidence(net_bench(Ripples(mlp(features=200)), features=200)))
    assert found.status is RAISED
    assert found.value is not None
    assert found.value > 0.5
    assert CHECK.masks


def test_cosines_have_closed_forms() -> None:
    left = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [3.0, 4.0]])
    right = np.array([[0.0, 2.0], [1.0, 0.0], [1.0, 0.0], [-3.0, -4.0]])
    assert np.allclose(cosines(left, right), [0, 0.5**0.5, np.nan, -1], equal_nan=True)


def test_missing_evidence_is_inconclusive() -> None:
    made = linear_bench(threat=ThreatModel(epsilon=0.1))
    assert CHECK.look(evidence(replace(made, access=Access.SCORE))).status is INCONCLUSIVE
    assert CHECK.look(evidence(made.at(0.0))).status is INCONCLUSIVE


def test_it_keeps_the_rules_of_checks() -> None:
    check_check(CHECK)
