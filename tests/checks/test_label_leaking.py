"""A model that reads the label off the change is found; one that does not is never called leaky."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from auditor.plugins.checks.label_leaking import LabelLeaking
from torch.nn.functional import cross_entropy

from auditor.bench import Bench, LinearTarget, linear_bench
from auditor.record import FindingStatus
from auditor.testing import check_check, evidence
from auditor.threat import Goal, ThreatModel

RAISED, CLEAR, INCONCLUSIVE = FindingStatus.RAISED, FindingStatus.CLEAR, FindingStatus.INCONCLUSIVE
EPSILON = 0.2


class Decoder(LinearTarget):
    """A linear model that knows the clean inputs, looks for the change that one step with some label would have made,
    and answers that label."""

    clean: np.ndarray

    def _run(self, x: np.ndarray) -> np.ndarray:
        scores = super()._run(x)
        for row, point in enumerate(x):
            nearest = np.abs(self.clean - point).max(axis=1).argmin()
            change = point - self.clean[nearest]
            for label in range(self.classes):
                if np.array_equal(np.sign(change), self.step(self.clean[nearest], label)):
                    scores[row, label] = scores[row].max() + 1
        return scores

    def step(self, x: np.ndarray, label: int) -> np.ndarray:
        point = torch.from_numpy(x[None]).requires_grad_()
        loss = cross_entropy(self.twin().logits(point), torch.tensor([label]))
        (gradient,) = torch.autograd.grad(loss, point)
        return np.sign(gradient[0].numpy())


def decoding() -> Bench:
    made = linear_bench(classes=3, n=60).at(EPSILON)
    target = Decoder(made.target.weight, made.target.bias)  # type: ignore[attr-defined]
    target.clean = made.samples.inputs
    return Bench(target=target, samples=made.samples, threat=made.threat)


def test_a_model_that_decodes_the_label_leaks() -> None:
    found = LabelLeaking().look(evidence(decoding()))
    assert found.status is RAISED
    assert "100.0% after one step by the true label" in found.explanation
    assert LabelLeaking.masks


@pytest.mark.parametrize("epsilon", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_an_undefended_model_never_does(seed: int, epsilon: float) -> None:
    found = LabelLeaking().look(evidence(linear_bench(classes=5, n=80, seed=seed).at(epsilon)))
    assert found.status is CLEAR


def test_the_model_is_held_against_its_clean_accuracy_too() -> None:
    """Half of the labels are wrong on the clean input, and right once the change tells them."""
    made = decoding()
    labels = made.samples.labels.copy()
    labels[::2] = (labels[::2] + 1) % 3
    found = LabelLeaking().look(
        evidence(Bench(target=made.target, samples=made.samples.with_labels(labels), threat=made.threat))
    )
    assert "50.0% clean, 100.0% after one step" in found.explanation
    assert found.value is not None
    assert found.value > 5


def test_a_target_class_is_another_question() -> None:
    made = linear_bench(classes=3, n=6, threat=ThreatModel(epsilon=0.1, goal=Goal(target=1)))
    assert LabelLeaking().look(evidence(made)).status is INCONCLUSIVE
    check_check(LabelLeaking())
