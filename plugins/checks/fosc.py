"""Had the attacks converged where they ended?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.lab import Slopes
from auditor.limits import limit
from auditor.readings import TINY, Array, flat, hindrance
from auditor.record import Finding, FindingStatus, Severity

HUGE = 1e30
"""Beyond it a share of the margin says nothing more; nothing overflows."""


@dataclass(frozen=True, kw_only=True)
class Stationarity(Check):
    """A sample that withstood counts as robust, though the attack on it may have been stopped half-way. At a point
    where the linearised loss could still rise a good deal within the threat, more steps or another step size would have
    found more.

    The first-order stationarity condition at the point of smallest margin of every sample that stands: how far the
    linearised margin can still be moved within the threat, box included, as a share of what it could be from the
    sample itself with that gradient. 1 at the sample, 0 where a linear loss is at its optimum. Costs a forward and a
    backward a sample.
    """

    name: ClassVar[str] = "fosc"
    title: ClassVar[str] = "Attacks had not converged"
    source: ClassVar[str] = (
        "Wang et al. 2019 (https://arxiv.org/abs/2112.08304), FOSC, box-aware; the figure is measured"
    )
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        f"In the median over the samples that stand more than {limit('fosc'):.0%} of what the linearised margin could "
        "be moved is still open at the best point that was found."
    )
    advice: ClassVar[str] = (
        "Run more steps and restarts of a white-box attack on what stands, with the margin as its loss."
    )
    technique: ClassVar[str] = "AML.T0043.000"
    answers: ClassVar[tuple[str, ...]] = ("margin",)
    again: ClassVar[bool] = True

    def look(self, evidence: Evidence) -> Finding:
        lab, ledger = evidence.lab, evidence.ledger
        index = lab.draw(np.flatnonzero(ledger.worth_a_look & ~ledger.broken & np.isfinite(ledger.margin)), 128)
        why = hindrance(evidence, index)
        if why is not None:
            if evidence.twin is not None and not len(index) and ledger.met.any() and not len(ledger.standing):
                return self.finding(FindingStatus.CLEAR, "The attacks broke every sample, so none was left half-way.")
            why = why if len(index) or evidence.twin is None else "No white-box attack has left a point on what stands."
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        points = ledger.best[index].astype(np.float64)
        here = lab.slopes(points, index)
        condition, whole = stationarity(evidence, index, points, here)
        share = condition / np.maximum(whole, TINY)
        value = float(np.median(share))
        raised = value > self.threshold
        reach = float(np.median(np.minimum(whole, HUGE) / np.maximum(np.abs(here.loss), 1 / HUGE)))
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"At the best points of {len(index)} samples that stand the linearised margin could still be moved by "
            f"{value:.0%} of what it could from the sample itself, in the median ({np.quantile(share, 0.9):.0%} on a "
            f"tenth of them). That whole is {reach:.2g} times the margin there."
            + (" The attacks ended before they had converged." if raised else "")
            + (" Gradients this small lead to no boundary within the threat." if reach < 0.1 else ""),
            value=value,
            threshold=self.threshold,
        )


def stationarity(evidence: Evidence, index: Array, points: Array, here: Slopes) -> tuple[Array, Array]:
    """max <x' - x, g> over the threat at points x of these samples, `[n]`: 0 where x is a linear optimum; and the same
    from the samples themselves."""
    far = evidence.lab.furthest(index, here.gradient)
    condition = flat((far - points) * here.gradient).sum(axis=1)
    whole = flat((far - evidence.samples.inputs[index]) * here.gradient).sum(axis=1)
    return np.maximum(condition, 0.0), whole


@hookimpl
def register_checks(register: Register) -> None:
    register(Stationarity)
