"""Gradients that are missing are found; gradients that are there are not called missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from auditor.plugins.checks.gradients import Gradients, Surrogates
from torch import Tensor, nn

from auditor.access import Access, OutputKind
from auditor.bench import Bench, linear_bench
from auditor.record import FindingStatus, Severity
from auditor.testing import evidence
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
