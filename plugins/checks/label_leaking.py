"""Does a one-step attack that knows the label make the model better?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.readings import GUIDED, Array
from auditor.record import Finding, FindingStatus, Severity

PROBED = 512


@dataclass(frozen=True, kw_only=True)
class LabelLeaking(Check):
    """A one-step change made with the true label carries that label. A model that was trained on such changes can learn
    to read it off them: it is then right more often under attack than without, and its robustness is that of a decoder.

    The accuracy under one step by the true label, against that on the clean inputs, and against that under one step
    away from a random other class, which does not give the label away. Costs 2 forwards, 2 backwards and 3 queries on
    up to 512 samples, misclassified ones too.
    """

    name: ClassVar[str] = "label_leaking"
    title: ClassVar[str] = "Attacked with the true label the model does better"
    source: ClassVar[str] = "Kurakin et al. 2017 (https://arxiv.org/abs/1611.01236)"
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        "the accuracy under one step by the true label is above that on clean inputs, or above that under one step "
        "towards a random class, by more than two standard errors"
    )
    advice: ClassVar[str] = "Look at the training: make its adversarial examples with predicted labels and many steps."
    technique: ClassVar[str] = "AML.T0043.000"
    masks: ClassVar[bool] = True
    answers: ClassVar[tuple[str, ...]] = ("margin",)

    def look(self, evidence: Evidence) -> Finding:
        lab, samples = evidence.lab, evidence.samples
        if evidence.twin is None or evidence.threat.norm not in GUIDED or evidence.threat.goal.target is not None:
            why = "It takes a twin, a threat with a gradient's direction (linf, l2, l1), and no target class."
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        index = lab.draw(np.arange(len(samples)), PROBED)
        x, labels = samples.inputs[index], samples.labels[index]
        classes = evidence.target.classes
        other = (labels + lab.rng(self.name).integers(1, classes, len(labels))) % classes
        leaky = lab.furthest(index, lab.slopes(x, index, "ce").gradient)
        blind = lab.furthest(index, -lab.slopes(x, index, "ce", labels=other).gradient)
        clean, told, untold = (self._right(evidence, points, labels) for points in (x, leaky, blind))
        gains = [_gain(told, other) for other in (clean, untold)]
        gain, error = max(gains, key=lambda pair: pair[0] / max(pair[1], 1e-12))
        return self.finding(
            FindingStatus.RAISED if gain > self.threshold * error and gain > 0 else FindingStatus.CLEAR,
            f"On {len(index)} samples the accuracy is {clean.mean():.1%} clean, {told.mean():.1%} after one step by "
            f"the true label, {untold.mean():.1%} after one step towards a random class.",
            value=float(gain / error) if error else 0.0,
            threshold=self.threshold,
        )

    def _right(self, evidence: Evidence, points: Array, labels: Array) -> Array:
        right: Array = evidence.lab.scores(points).argmax(axis=1) == labels
        return right


def _gain(told: Array, other: Array) -> tuple[float, float]:
    """By how much one accuracy is above the other on the same samples, and the standard error of that."""
    change = told.astype(float) - other
    return float(change.mean()), float(change.std() / len(change) ** 0.5)


@hookimpl
def register_checks(register: Register) -> None:
    register(LabelLeaking)
