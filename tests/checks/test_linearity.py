"""On a linear model one step achieves all; where the loss bends next to the sample it achieves nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from auditor.plugins.checks.linearity import Linearity
from nets import BOUNDS, Front, mlp, net_bench
from torch import Tensor, nn

from auditor.access import Access
from auditor.bench import linear_bench
from auditor.record import FindingStatus, Severity
from auditor.testing import check_check, evidence
from auditor.threat import Norm, ThreatModel

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE
CHECK = Linearity()


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2, Norm.L1])
def test_on_a_linear_model_with_two_classes_one_step_is_all(norm: Norm) -> None:
    made = linear_bench(n=20, threat=ThreatModel(norm=norm, epsilon=0.1, bounds=BOUNDS))
    found = CHECK.look(evidence(made))
    assert found.status is CLEAR
    assert found.value == pytest.approx(1.0, abs=1e-4)
    assert "the cosine between the two changes is 1" in found.explanation
    assert CHECK.severity is Severity.INFO


def test_an_honest_net_is_clear() -> None:
    assert CHECK.look(evidence(net_bench(mlp()))).status is CLEAR


class Bent(Front):
    """Features as they are, but for a bend the wrong way within 0.01 of one half, where the samples are."""

    def front(self, x: Tensor) -> Tensor:
        away = x - 0.5
        return torch.where(away.abs() < 0.01, -away, away - 0.02 * away.sign())


def test_a_bend_beside_the_sample_stops_one_step_and_not_twenty() -> None:
    plain = nn.Linear(12, 2)
    with torch.no_grad():
        plain.weight.copy_(torch.stack([torch.ones(12), -torch.ones(12)]))
        plain.bias.copy_(torch.tensor([5.0, 0.0]))
    made = net_bench(Bent(plain), classes=2)
    inputs = (0.5 + 0.001 * np.random.default_rng(0).uniform(-1, 1, size=(20, 12))).astype(np.float32)
    samples = replace(made.samples.take(np.arange(20)), inputs=inputs, labels=made.target.labels(inputs).astype(int))
    found = CHECK.look(evidence(replace(made, samples=samples)))
    assert found.status is RAISED
    assert found.value is not None
    assert found.value < 0


def test_missing_evidence_is_inconclusive() -> None:
    made = linear_bench(threat=ThreatModel(epsilon=0.1))
    assert CHECK.look(evidence(replace(made, access=Access.SCORE))).status is INCONCLUSIVE
    assert CHECK.look(evidence(made.at(0.0))).status is INCONCLUSIVE
    check_check(CHECK)
