"""Does the gradient at one point say anything about the points beside it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.limits import limit
from auditor.readings import TINY, cosines, hindrance
from auditor.record import Finding, FindingStatus, Severity

DRAWS = 8
NEAR = 0.1
"""How far from a sample towards a random point of the threat its neighbours lie."""


@dataclass(frozen=True, kw_only=True)
class Shattered(Check):
    """An attack takes a step because the gradient promises a rise over the whole of it. Where the gradient turns within
    a tenth of epsilon, the promise ends before the step does, and following gradients is walking at random. Steep
    terms that cancel each other and k-winners-take-all layers shatter a loss like that.

    Takes the margin's gradient at each sample and at eight points nearby, a tenth of the way to random points of the
    threat, and looks at the cosines between them and at how far the margin moves. Costs nine forwards and backwards a
    sample.
    """

    name: ClassVar[str] = "shattered"
    title: ClassVar[str] = "Shattered gradients"
    source: ClassVar[str] = (
        "Athalye et al. 2018; Pintor et al. 2022, indicator 2 (the loss under random offsets); the figures are measured"
    )
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        f"On more than {limit('shattered'):.0%} of the samples the median cosine between the gradients at a sample "
        f"and at points a tenth of epsilon away is below {limit('shattered.cosine'):g}."
    )
    advice: ClassVar[str] = (
        "Look for steep terms that cancel and for activations that jump; average gradients over a neighbourhood, or "
        "attack without them."
    )
    technique: ClassVar[str] = "AML.T0043.001"
    masks: ClassVar[bool] = True
    answers: ClassVar[tuple[str, ...]] = ("smooth", "square")

    def look(self, evidence: Evidence) -> Finding:
        lab = evidence.lab
        index = lab.some()
        why = hindrance(evidence, index)
        if why is not None:
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        x = evidence.samples.inputs[index].astype(np.float64)
        here = lab.slopes(x, index)
        beside = [lab.problem(index, self.name, turn).random_point().cpu().numpy() - x for turn in range(DRAWS)]
        found = [lab.slopes(x + NEAR * change, index) for change in beside]
        cosine = np.stack([cosines(here.gradient, there.gradient) for there in found])
        known = np.isfinite(cosine).all(axis=0)
        if not known.any():
            return self.finding(
                FindingStatus.INCONCLUSIVE,
                "The gradients are zero or not finite, so that none points anywhere.",
                threshold=self.threshold,
            )
        middle = np.median(cosine[:, known], axis=0)
        moved = np.stack([np.abs(there.loss - here.loss) for there in found]).mean(axis=0)
        unstable = float(np.minimum(moved / np.maximum(np.abs(here.loss), TINY), 1.0).mean())
        apart = middle < limit("shattered.cosine")
        value = float(apart.mean())
        raised = value > self.threshold
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"On {apart.sum()} of {known.sum()} correctly classified samples the gradient says next to nothing about "
            f"that at a tenth of epsilon from there; the median cosine is {np.median(middle):.2g}, and the margin "
            f"moves by {unstable:.1%} of itself in the mean."
            + (" A step along such a gradient leads anywhere." if raised else ""),
            value=value,
            threshold=self.threshold,
        )


@hookimpl
def register_checks(register: Register) -> None:
    register(Shattered)
