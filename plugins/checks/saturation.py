"""Do scores saturate, so that a loss that other tools climb is flat although the model is not?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor
from torch.nn.functional import one_hot

from auditor.access import OutputKind
from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.limits import limit
from auditor.readings import Array, along, flat, hindrance
from auditor.record import Finding, FindingStatus, Severity

SMALLEST = float(np.finfo(np.float32).tiny)
"""Below it float32 has lost digits or everything."""


@dataclass(frozen=True, kw_only=True)
class Saturation(Check):
    """Scores that lie too far apart make a float32 softmax exactly 0 and 1, and the cross-entropy that most tools climb
    has no gradient left. Attacks fail and the model looks robust, though any multiple of its scores decides the same.
    Defensive distillation and scaled logits do that.

    Compares the gradient of the cross-entropy as float32 computes it with that of the margin, at clean inputs, and
    looks at how far apart the two best scores are and at the probabilities that the file returns. Costs two forwards
    and backwards and a query a sample.
    """

    name: ClassVar[str] = "saturation"
    title: ClassVar[str] = "Saturated scores"
    source: ClassVar[str] = (
        "Carlini and Wagner 2017 (https://arxiv.org/abs/1608.04644); exp underflows in float32 beyond a gap of 88"
    )
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        f"On more than {limit('saturation'):.0%} of the samples the float32 cross-entropy has a gradient below "
        f"1.2e-38 while the margin's is fine, the two best logits are more than {limit('saturation.gap'):g} apart, or "
        "the probabilities are exactly 0 and 1."
    )
    advice: ClassVar[str] = (
        "Believe no evaluation that climbs the cross-entropy of these scores; divide the logits by a constant, or "
        "attack the margin."
    )
    technique: ClassVar[str] = "AML.T0043.000"
    masks: ClassVar[bool] = True
    answers: ClassVar[tuple[str, ...]] = ("margin",)

    def look(self, evidence: Evidence) -> Finding:
        lab = evidence.lab
        index = lab.some()
        if evidence.twin is None or not len(index):
            why = f"There is no twin to take gradients from: {evidence.why_no_twin}"
            return self.finding(
                FindingStatus.INCONCLUSIVE,
                why if evidence.twin is None else "No sample is classified correctly.",
                threshold=self.threshold,
            )
        x = evidence.samples.inputs[index]
        plain = lab.slopes(x, index)
        naive = _size(lab.slopes(x, index, naive_cross_entropy).gradient)
        fine = _size(plain.gradient) >= SMALLEST
        lost = fine & ((naive < SMALLEST) | ~np.isfinite(naive))
        gap = np.abs(plain.loss)
        apart = gap > limit("saturation.gap")
        exact = self._exact(evidence, x) & (gap > limit("saturation.rounded"))
        either = lost | apart | exact
        raised = float(either.mean()) > self.threshold
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"Of {len(index)} correctly classified samples the cross-entropy that float32 computes has no gradient on "
            f"{lost.sum()} where the margin has one; the two best logits are more than {limit('saturation.gap'):g} "
            f"apart on {apart.sum()} (in the median {np.median(gap):.3g}); the file's probabilities are exactly 0 and "
            f"1 on {exact.sum()}."
            + (" Attacks that climb it stand still, whatever the model's robustness is." if raised else ""),
            value=float(either.mean()),
            threshold=self.threshold,
        )

    def _exact(self, evidence: Evidence, x: Array) -> Array:
        """Where the file's probabilities leave no room: 0 for all classes but one."""
        kind, nothing = evidence.target.output, np.zeros(len(x), bool)
        if kind not in (OutputKind.PROBABILITIES, OutputKind.LOG_PROBABILITIES):
            return nothing
        second = np.sort(evidence.lab.scores(x), axis=1)[:, -2]
        found: Array = second == (0.0 if kind is OutputKind.PROBABILITIES else -np.inf)
        return found


@dataclass(frozen=True, kw_only=True)
class Vanishing(Check):
    """A gradient that is tiny where the model's answer still moves is one that has vanished on its way, as it does
    through a sigmoid so steep that it is nearly a step. Its size, and often its direction, mean nothing.

    A linear model whose gradient is the twin's can't move further within the threat than the gradient promises. Asks
    the deployed model at two random corners of the threat and at the point the gradient leads to, and compares. Costs a
    forward, a backward and four queries a sample.
    """

    name: ClassVar[str] = "vanishing"
    title: ClassVar[str] = "The model moves more than its gradient promises"
    source: ClassVar[str] = "Athalye et al. 2018 (vanishing gradients); the figure is measured"
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        f"On more than {limit('vanishing'):.0%} of the samples the margin moves over {limit('vanishing.times'):g} "
        "times as far as the twin's gradient allows anywhere in the threat."
    )
    advice: ClassVar[str] = (
        "Look for steep sigmoids and other steps in the model; attack a copy in which they are less steep."
    )
    technique: ClassVar[str] = "AML.T0043.001"
    masks: ClassVar[bool] = True
    answers: ClassVar[tuple[str, ...]] = ("smooth", "square")

    def look(self, evidence: Evidence) -> Finding:
        lab = evidence.lab
        index = lab.some()
        why = hindrance(evidence, index, scores=True)
        if why is not None:
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        x = evidence.samples.inputs[index].astype(np.float64)
        slope = lab.slopes(x, index).gradient
        change = lab.furthest(index, slope) - x
        promised = flat(slope * change).sum(axis=1)
        corners = [lab.problem(index, self.name, turn).random_corner().cpu().numpy() for turn in range(2)]
        before = lab.margins(x, index)
        moved = np.abs([lab.margins(point, index) - before for point in (*corners, x + along(change, 0.5))]).max(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(moved > limit("vanishing.moved") * np.maximum(np.abs(before), 1), moved / promised, 0.0)
        over = ratio > limit("vanishing.times")
        raised = float(over.mean()) > self.threshold
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"On {over.sum()} of {len(index)} correctly classified samples the margin moves more than "
            f"{limit('vanishing.times'):g} times as far as the gradient allows within the threat; in the median it "
            f"moves {np.median(ratio):.2g} times that."
            + (" The gradient has vanished on its way through the model." if raised else ""),
            value=float(over.mean()),
            threshold=self.threshold,
        )


def naive_cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Something whose gradient is that of a cross-entropy whose softmax was computed in float32: probabilities less the
    one-hot label, pulled back."""
    del targets
    scores = logits.detach().float()
    pull = scores.softmax(dim=1) - one_hot(labels, logits.shape[1])
    return (logits * pull.to(logits.dtype)).sum(dim=1)


def _size(gradient: Array) -> Array:
    largest: Array = np.abs(flat(gradient)).max(axis=1)
    return largest


@hookimpl
def register_checks(register: Register) -> None:
    register(Saturation)
    register(Vanishing)
