"""A file that stays where it is while its gradient says that it moves is seen; int8 and honest nets stay clear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from auditor.plugins.checks.steps import Steps
from nets import BOUNDS, Front, Levels, mlp, net_bench
from torch import Tensor

from auditor.access import Access, OutputKind
from auditor.bench import LinearTarget, linear_bench
from auditor.record import FindingStatus
from auditor.testing import check_check, evidence
from auditor.threat import Norm, ThreatModel

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE
CHECK = Steps()


class EightBits(Front):
    """Inputs as an int8 file holds them."""

    def front(self, x: Tensor) -> Tensor:
        return x + ((255 * x).round() / 255 - x).detach()


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1])
def test_a_linear_model_moves_exactly_as_predicted(norm: Norm) -> None:
    made = linear_bench(n=20, threat=ThreatModel(norm=norm, epsilon=0.1, bounds=BOUNDS))
    found = CHECK.look(evidence(made))
    assert (found.status, found.value) == (CLEAR, 0.0)
    assert "it moves 1, 1, 1 times as far in the median" in found.explanation


def test_an_honest_net_is_clear() -> None:
    assert CHECK.look(evidence(net_bench(mlp()))).status is CLEAR


def test_coarse_rounding_in_front_is_found() -> None:
    """A level is 0.2 wide, so that a move of 0.00625 leaves nearly every input of one feature on its level."""
    made = net_bench(Levels(mlp(features=2)), features=2, n=60)
    found = CHECK.look(evidence(made))
    assert found.status is RAISED
    assert found.value is not None
    assert found.value > 0.5
    assert CHECK.masks


@pytest.mark.parametrize("epsilon", [8 / 255, 0.3])
def test_eight_bits_are_honest(epsilon: float) -> None:
    made = net_bench(EightBits(mlp()), epsilon=epsilon)
    on_grid = (np.rint(255 * made.samples.inputs) / 255).astype(np.float32)
    labels = made.target.labels(on_grid).astype(np.int64)
    found = CHECK.look(evidence(replace(made, samples=replace(made.samples, inputs=on_grid, labels=labels))))
    assert (found.status, found.value) == (CLEAR, 0.0)


def test_a_threat_finer_than_eight_bits_says_nothing() -> None:
    made = net_bench(EightBits(mlp()), epsilon=1 / 255)
    assert CHECK.look(evidence(made)).status is INCONCLUSIVE


class Decided(LinearTarget):
    """1 for the best class, 0 for the others."""

    def _run(self, x: np.ndarray) -> np.ndarray:
        scores = super()._run(x)
        return (scores == scores.max(axis=1, keepdims=True)).astype(np.float32)


class Full(LinearTarget):
    """A softmax of scores so large that it is exactly 0 and 1, whose twin was cut off before it."""

    def _run(self, x: np.ndarray) -> np.ndarray:
        scores = 1e4 * torch.from_numpy(super()._run(x))
        return scores.softmax(dim=1).numpy()


@pytest.mark.parametrize(
    ("kind", "peeled", "factor", "status"),
    [(Decided, "decision", 1.0, RAISED), (Full, "softmax", 1e4, INCONCLUSIVE), (Decided, "softmax", 1.0, RAISED)],
)
def test_a_comparison_at_the_end_is_found_and_a_full_softmax_is_another_matter(
    kind: type[LinearTarget], peeled: str, factor: float, status: FindingStatus
) -> None:
    made = linear_bench(n=20, threat=ThreatModel(epsilon=0.02, bounds=BOUNDS))
    plain = made.target
    assert isinstance(plain, LinearTarget)
    target = kind(plain.weight, plain.bias)
    target.output = OutputKind.PROBABILITIES
    scaled = LinearTarget(factor * plain.weight, factor * plain.bias)
    twin = replace(scaled.twin(), output=OutputKind.PROBABILITIES, peeled=peeled)
    target.twin = lambda: twin  # type: ignore[method-assign]
    assert CHECK.look(evidence(replace(made, target=target))).status is status


@pytest.mark.parametrize(
    "threat", [ThreatModel(), ThreatModel(norm=Norm.L0, epsilon=2, bounds=BOUNDS), ThreatModel(epsilon=float("inf"))]
)
def test_where_no_gradient_leads_nothing_is_known(threat: ThreatModel) -> None:
    assert CHECK.look(evidence(linear_bench(threat=threat))).status is INCONCLUSIVE


def test_missing_evidence_is_inconclusive() -> None:
    made = linear_bench(threat=ThreatModel(epsilon=0.1))
    assert CHECK.look(evidence(replace(made, access=Access.SCORE))).status is INCONCLUSIVE
    wrong = replace(made, samples=replace(made.samples, labels=1 - made.samples.labels))
    assert CHECK.look(evidence(wrong)).status is INCONCLUSIVE


def test_it_keeps_the_rules_of_checks() -> None:
    check_check(CHECK)
