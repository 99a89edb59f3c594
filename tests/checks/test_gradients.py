"""Gradients that are missing are found; gradients that are there are not called missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.checks.gradients import Gradients, NoGradients, Surrogates
from torch import Tensor, nn

from auditor.access import Access, OutputKind
from auditor.bench import Bench, linear_bench
from auditor.record import FindingStatus, Severity
from auditor.testing import check_check, evidence
from auditor.threat import Norm, ThreatModel
from auditor.twin import Twin

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE


def with_twin(made: Bench, module: nn.Module, **more: Any) -> Bench:
    twin = Twin(module=module, preprocess=made.target.preprocess, output=OutputKind.LOGITS, **more)
    made.target.twin = lambda: twin  # type: ignore[method-assign]
    return made


class Stairs(nn.Linear):
    """A linear layer behind a rounding, which has no gradient."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward((8 * input).round() / 8)


class Cut(nn.Linear):
    """No path leads back to the input."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.detach())


class Half(nn.Linear):
    """Gradients for inputs whose first feature is large, none for the others; infinite ones below zero."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(torch.where(input[:, :1] > 0.5, input, input.detach()))


def test_a_linear_model_has_gradients() -> None:
    found = Gradients().look(evidence(linear_bench(n=40)))
    assert (found.status, found.value) == (CLEAR, 0.0)


@pytest.mark.parametrize("module", [Stairs(12, 2), Cut(12, 2)])
def test_no_gradients_at_all(module: nn.Module) -> None:
    found = Gradients().look(evidence(with_twin(linear_bench(n=10), module)))
    assert (found.status, found.value, found.severity) == (RAISED, 1.0, Severity.CRITICAL)
    assert Gradients.masks


def test_some_gradients_are_missing() -> None:
    made = with_twin(linear_bench(n=40), Half(12, 2))
    share = float((made.samples.inputs[:, 0] <= 0.5).mean())
    found = Gradients().look(evidence(made))
    assert (found.status, found.value) == (RAISED, share)
    assert 0 < share < 1


def test_only_what_is_classified_correctly_counts() -> None:
    made = with_twin(linear_bench(n=10), Half(12, 2))
    large = made.samples.inputs[:, 0] > 0.5
    labels = np.where(large, made.samples.labels, 1 - made.samples.labels)
    found = Gradients().look(evidence(replace(made, samples=replace(made.samples, labels=labels))))
    assert found.status is CLEAR
    wrong = replace(made, samples=replace(made.samples, labels=1 - made.samples.labels))
    assert Gradients().look(evidence(wrong)).status is INCONCLUSIVE


class Beyond(nn.Linear):
    """Gradients for the samples as they are, in [0.2, 0.8], none where any feature is further out."""

    def forward(self, input: Tensor) -> Tensor:
        inside = ((input >= 0.2) & (input <= 0.8)).all(dim=1, keepdim=True)
        return super().forward(torch.where(inside, input, input.detach()))


@pytest.mark.parametrize(("norm", "status"), [(Norm.LINF, RAISED), (Norm.L2, RAISED), (Norm.L0, RAISED)])
def test_gradients_may_be_missing_beside_the_samples_alone(norm: Norm, status: FindingStatus) -> None:
    threat = ThreatModel(norm=norm, epsilon=3.0, bounds=(0.0, 1.0))
    found = Gradients().look(evidence(with_twin(linear_bench(n=40, threat=threat), Beyond(12, 2))))
    assert found.status is status
    assert "0 as they are" in found.explanation
    assert found.value is not None
    assert found.value > 0.5


def test_the_spatial_threat_has_no_points_beside_a_sample() -> None:
    threat = ThreatModel(norm=Norm.SPATIAL, epsilon=1.0, bounds=(0.0, 1.0))
    found = Gradients().look(evidence(linear_bench(n=4, shape=(1, 6, 6), threat=threat)))
    assert (found.status, found.value) == (CLEAR, 0.0)


def test_no_path_at_all_is_worth_knowing() -> None:
    cut = NoGradients().look(evidence(with_twin(linear_bench(n=10), Cut(12, 2))))
    assert (cut.status, cut.severity) == (RAISED, Severity.INFO)
    none = NoGradients().look(evidence(replace(linear_bench(), access=Access.SCORE)))
    assert none.status is RAISED
    assert "grants no gradient access" in none.explanation
    for module in (nn.Linear(12, 2), Stairs(12, 2)):  # a gradient of zero has come along a path
        assert NoGradients().look(evidence(with_twin(linear_bench(n=10), module))).status is CLEAR
    assert not NoGradients.masks
    check_check(NoGradients())


def test_without_a_twin_nothing_is_known() -> None:
    made = replace(linear_bench(), access=Access.SCORE)
    assert Gradients().look(evidence(made)).status is INCONCLUSIVE
    assert Surrogates().look(evidence(made)).status is INCONCLUSIVE


def test_stand_ins_are_named_and_doubt_nothing() -> None:
    made = with_twin(linear_bench(), nn.Linear(12, 2), surrogates=("Round: straight-through", "Sign: straight-through"))
    found = Surrogates().look(evidence(made))
    assert (found.status, found.value, found.severity) == (RAISED, 2.0, Severity.INFO)
    assert "Round: straight-through, Sign: straight-through" in found.explanation
    assert Surrogates().look(evidence(linear_bench())).status is CLEAR
