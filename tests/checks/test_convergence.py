"""A search that was too short is found, and so is an example that was passed over."""

from __future__ import annotations

import numpy as np
from auditor.plugins.attacks.pgd import PGD
from auditor.plugins.checks.convergence import Convergence, Silent
from bent import bent
from torch import Tensor

from auditor.bench import linear_bench
from auditor.record import FindingStatus
from auditor.testing import check_check, evidence

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE


def one_at_a_time(change: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of the first feature alone that is not yet where it should go."""
    left = (change - 0.09 * gradient.sign()).abs() > 1e-3
    first = left.cumsum(dim=1) == 1
    return gradient * (first & left).to(gradient)


def test_a_linear_model_is_solved_in_half_the_steps() -> None:
    found = Convergence().look(evidence(linear_bench(n=12, distance=0.1).at(0.09)))
    assert found.status is CLEAR
    assert found.value is not None
    assert found.value < 0.02
    check_check(Convergence(), PGD())


def test_a_way_that_shows_one_feature_at_a_time_takes_more_steps() -> None:
    made = bent(linear_bench(n=8, shape=(60,), distance=0.1).at(0.09), one_at_a_time)
    found = Convergence().look(evidence(made))
    assert found.status is RAISED
    assert found.value is not None
    assert found.value > 0.1


def test_nobody_left_needs_no_more_steps() -> None:
    found = Convergence().look(evidence(linear_bench(n=8, distance=0.1).at(0.12), PGD()))
    assert (found.status, found.value) == (CLEAR, 0.0)


def test_an_example_that_was_passed_over_is_found() -> None:
    made = linear_bench(n=6, distance=0.1).at(0.12)
    seen = evidence(made, PGD(steps=1, rel_step=0.01))
    assert Silent().look(seen).status is CLEAR
    strong = evidence(made, PGD())
    assert strong.ledger.broken.all()
    seen.ledger.best[:2] = np.stack([strong.ledger.adversarial[0], strong.ledger.adversarial[1]])
    found = Silent().look(seen)
    assert (found.status, found.value) == (RAISED, 2.0)


def test_without_an_attack_that_measures_nothing_is_known() -> None:
    assert Silent().look(evidence(linear_bench(n=4))).status is INCONCLUSIVE
    check_check(Silent(), PGD())
