"""Without a limit everything falls, and more room never helps: where an attack says otherwise, it has failed."""

from __future__ import annotations

import torch
from auditor.plugins.checks.budgets import Monotone, Unbounded, largest
from bent import bent, nowhere
from torch import Tensor

from auditor.bench import Bench, linear_bench
from auditor.record import FindingStatus
from auditor.testing import check_check, evidence
from auditor.threat import Norm, ThreatModel

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE


def bounded(epsilon: float) -> Bench:
    return linear_bench(n=24, threat=ThreatModel(epsilon=epsilon, bounds=(0.0, 1.0)), distance=0.1)


def test_a_linear_model_falls_without_a_limit() -> None:
    found = Unbounded().look(evidence(bounded(0.05)))
    assert (found.status, found.value) == (CLEAR, 0.0)
    check_check(Unbounded())
    check_check(Monotone())


def test_an_attack_without_gradients_does_not_break_everything() -> None:
    found = Unbounded().look(evidence(bent(bounded(0.05), nowhere)))
    assert found.status is RAISED
    assert found.value is not None
    assert found.value > 0.1


def test_a_linear_model_is_monotone() -> None:
    found = Monotone().look(evidence(bounded(0.06)))
    assert (found.status, found.value) == (CLEAR, 0.0)
    assert "0% at 0.03, 0% at 0.06, 100% at 0.12, 100% at 0.24" in found.explanation


def test_an_attack_that_loses_its_way_with_room() -> None:
    """Gradients end 0.15 from the data: an attack that starts further out never gets anywhere."""

    def near(change: Tensor, gradient: Tensor) -> Tensor:
        return gradient * (change.abs().amax(dim=1, keepdim=True) <= 0.15).to(gradient)

    made = linear_bench(n=24, shape=(400,), distance=0.1).at(0.12)
    found = Monotone().look(evidence(bent(made, near)))
    assert found.status is RAISED
    assert found.value == 1.0


def test_what_has_no_epsilon_is_inconclusive() -> None:
    l0 = linear_bench(n=4, threat=ThreatModel(norm=Norm.L0, epsilon=2.0, bounds=(0.0, 1.0)))
    for check in (Unbounded(), Monotone()):
        assert check.look(evidence(l0)).status is INCONCLUSIVE
    assert Monotone().look(evidence(bounded(1.0))).status is INCONCLUSIVE


def test_the_largest_epsilon() -> None:
    assert largest(evidence(bounded(0.1))) == 1.0
    l2 = linear_bench(n=2, shape=(16,), threat=ThreatModel(norm=Norm.L2, epsilon=0.1, bounds=(-1.0, 1.0)))
    assert largest(evidence(l2)) == 8.0
    assert largest(evidence(linear_bench(n=2).at(0.1))) == 10.0
    assert torch.tensor(largest(evidence(bounded(0.1)))).isfinite()
