"""How much of what many steps achieve does one step achieve?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.limits import limit
from auditor.readings import TINY, Array, cosines, hindrance
from auditor.record import Finding, FindingStatus, Severity

PROBED = 64
STEPS = 20


@dataclass(frozen=True, kw_only=True)
class Linearity(Check):
    """Training against one-step attacks can teach a model to bend its loss just where that step begins, so that one
    step goes nowhere and robustness against it means nothing. Many steps go round the bend.

    The share of the rise of the margin loss that one linear step across the whole threat achieves, of what twenty steps
    achieve, and the cosine between the two changes. On a linear model with two classes both are exactly 1. Costs 22
    forwards and backwards on each of 64 samples.
    """

    name: ClassVar[str] = "linearity"
    title: ClassVar[str] = "One step achieves little of what many do"
    source: ClassVar[str] = (
        "Tramèr et al. 2018 (https://arxiv.org/abs/1705.07204): 17-19 % of undefended, 7-8 % of masked nets"
    )
    severity: ClassVar[Severity] = Severity.INFO
    raised_if: ClassVar[str] = (
        f"In the median over the samples one linear step achieves less than {limit('linearity'):.0%} of what {STEPS} "
        "steps do."
    )
    advice: ClassVar[str] = "Believe no robustness against one-step attacks (FGSM) of this model."
    technique: ClassVar[str] = "AML.T0043.000"
    answers: ClassVar[tuple[str, ...]] = ()

    def look(self, evidence: Evidence) -> Finding:
        lab = evidence.lab
        index = lab.some(PROBED)
        why = hindrance(evidence, index)
        if why is not None:
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        x = evidence.samples.inputs[index].astype(np.float64)
        here = lab.slopes(x, index)
        once = lab.furthest(index, here.gradient)
        one = lab.slopes(once, index)
        many, most = self._climb(evidence, index, x, here.gradient, here.loss)
        better = one.loss > most
        many[better], most[better] = once[better], one.loss[better]
        rise = most - here.loss
        known = rise > limit("linearity.rise") * np.maximum(np.abs(here.loss), TINY)
        if not known.any():
            return self.finding(
                FindingStatus.INCONCLUSIVE, "Twenty steps move nothing, so there is nothing to compare with.",
                threshold=self.threshold,
            )  # fmt: skip
        share = (one.loss - here.loss)[known] / rise[known]
        value, cosine = float(np.median(share)), float(np.nanmedian(cosines(once - x, many - x)[known]))
        raised = value < self.threshold
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"One step across the threat achieves {value:.0%} of what {STEPS} steps do on {known.sum()} samples, in "
            f"the median; the cosine between the two changes is {cosine:.2g}."
            + (" The loss bends away from where the first step leads." if raised else ""),
            value=value,
            threshold=self.threshold,
        )

    def _climb(self, evidence: Evidence, index: Array, x: Array, slope: Array, loss: Array) -> tuple[Array, Array]:
        """The best point of each sample after sign steps from it, and its loss."""
        lab, problem = evidence.lab, evidence.lab.problem(index, self.name)
        best, most, point = x.copy(), loss.copy(), torch.from_numpy(x).to(problem.inputs)
        for step in range(STEPS):
            rate = 2.0 * (1 - step / STEPS) * 4 / STEPS
            gradient = torch.from_numpy(slope).to(problem.inputs)
            point = problem.project(point + rate * problem.wide(problem.epsilon) * problem.steepest(gradient, point))
            seen = point.cpu().numpy()
            found = lab.slopes(seen, index)
            higher = found.loss > most
            best[higher], most[higher], slope = seen[higher], found.loss[higher], found.gradient
        return best, most


@hookimpl
def register_checks(register: Register) -> None:
    register(Linearity)
