"""Are there gradients at all, and are they the model's own?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.lab import Slopes
from auditor.readings import Array, flat
from auditor.record import Finding, FindingStatus, Severity
from auditor.threat import Norm


@dataclass(frozen=True, kw_only=True)
class Gradients(Check):
    """An attack that follows gradients stands still where they are zero, and runs wild where they are not finite. What
    it fails to break there says nothing about robustness: rounding, saturation and thresholds make such places.

    Looks at the margin's gradient at clean inputs and at one random point of the threat around each. Costs two forwards
    and backwards a sample.
    """

    name: ClassVar[str] = "gradients"
    title: ClassVar[str] = "Zero, missing or non-finite gradients"
    source: ClassVar[str] = "Croce and Hein 2020 (AutoAttack's check); Pintor et al. 2022, indicator 1"
    severity: ClassVar[Severity] = Severity.CRITICAL
    raised_if: ClassVar[str] = (
        "The margin's gradient is zero or not finite on any of 128 samples, itself or at a random point of its threat."
    )
    advice: ClassVar[str] = (
        "Trust the gradient-free attacks only; look for rounding, saturation or thresholds in the model."
    )
    technique: ClassVar[str] = "AML.T0043.001"
    masks: ClassVar[bool] = True
    answers: ClassVar[tuple[str, ...]] = ("smooth", "square")

    def look(self, evidence: Evidence) -> Finding:
        lab = evidence.lab
        if evidence.twin is None:
            return self.finding(
                FindingStatus.INCONCLUSIVE,
                f"There is no twin to take gradients from: {evidence.why_no_twin}",
                "Read the number as what a gradient-free attacker achieved; nothing is known about a stronger one.",
            )
        index = lab.some()
        if not len(index):
            return self.finding(FindingStatus.INCONCLUSIVE, "No sample is classified correctly.")
        clean = dead(lab.slopes(evidence.samples.inputs[index], index))
        nearby = clean
        if evidence.threat.norm is not Norm.SPATIAL:
            nearby = dead(lab.slopes(lab.problem(index, self.name).random_point().cpu().numpy(), index))
        either = clean | nearby
        raised = float(either.mean()) > self.threshold
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"The gradient of the margin is zero or not finite on {either.sum()} of {len(index)} correctly classified "
            f"samples: {clean.sum()} as they are, {nearby.sum()} at a random point of the threat."
            + (" Attacks that follow it go nowhere there, which says nothing about robustness." if raised else ""),
            value=float(either.mean()),
            threshold=self.threshold,
        )


@dataclass(frozen=True, kw_only=True)
class NoGradients(Check):
    """Without a path from the scores back to the input every white-box attack is left out, and the number is what an
    outsider achieves. That is no fault of the model, but a reader who expects more than that should know.

    Costs one forward and backward.
    """

    name: ClassVar[str] = "no_gradients"
    title: ClassVar[str] = "No gradient path"
    source: ClassVar[str] = "Carlini et al. 2019 (gradient-free attacks beside gradient-based ones)"
    severity: ClassVar[Severity] = Severity.INFO
    raised_if: ClassVar[str] = (
        "There is no twin, nothing leads from its scores back to its input, or no stage of the suite followed "
        "gradients."
    )
    advice: ClassVar[str] = (
        "Read the number as what a gradient-free attacker achieved; `advaudit doctor` says what a twin lacks."
    )
    technique: ClassVar[str] = "AML.T0043.001"
    answers: ClassVar[tuple[str, ...]] = ("blind",)

    def look(self, evidence: Evidence) -> Finding:
        if evidence.twin is None:
            why = str(evidence.why_no_twin).rstrip(".")
            return self.finding(FindingStatus.RAISED, f"No attack could follow a gradient: {why}.", value=1.0)
        white = any(row.climbed for row in evidence.attacks)
        if evidence.attacks and not white and evidence.threat.norm is not Norm.SPATIAL:
            return self.finding(FindingStatus.RAISED, "No stage that follows gradients was played.", value=1.0)
        index = np.arange(min(1, len(evidence.samples)))
        if not len(index):
            return self.finding(FindingStatus.INCONCLUSIVE, "There is no sample to look at.")
        path = evidence.lab.slopes(evidence.samples.inputs[index], index).path
        return self.finding(
            FindingStatus.CLEAR if path else FindingStatus.RAISED,
            "A path leads from the scores back to the input."
            if path
            else "The twin computes its scores in a way that no gradient passes through.",
            value=0.0 if path else 1.0,
        )


@dataclass(frozen=True, kw_only=True)
class Surrogates(Check):
    """Rounding and comparisons have no useful derivative, so that the twin lets something else through in their place.
    White-box attacks then follow an approximation, which is as good as the stand-in.

    Names the operators whose backward pass is a stand-in. Costs nothing.
    """

    name: ClassVar[str] = "surrogates"
    title: ClassVar[str] = "Stand-in gradients used"
    source: ClassVar[str] = "Athalye et al. 2018 (BPDA)"
    severity: ClassVar[Severity] = Severity.INFO
    raised_if: ClassVar[str] = "The twin has a stand-in for the derivative of any operator on the way to the scores."
    advice: ClassVar[str] = "Read the gradient-free results beside the white-box ones."
    technique: ClassVar[str] = "AML.T0043.000"

    def look(self, evidence: Evidence) -> Finding:
        if evidence.twin is None:
            return self.finding(FindingStatus.INCONCLUSIVE, "There is no twin.")
        names = evidence.twin.surrogates
        if not names:
            return self.finding(FindingStatus.CLEAR, "Every operator on the path has its own derivative.", value=0.0)
        return self.finding(
            FindingStatus.RAISED,
            f"These operators have no useful derivative and got a stand-in: {', '.join(names)}. "
            "Attacks follow an approximation; every example was still judged by the file itself.",
            value=float(len(names)),
            threshold=0.0,
        )


def dead(slopes: Slopes) -> Array:
    """At which points the gradient is zero or not finite, bool `[n]`."""
    size = np.abs(flat(slopes.gradient)).sum(axis=1)
    found: Array = (size == 0) | ~np.isfinite(size)
    return found


@hookimpl
def register_checks(register: Register) -> None:
    register(Gradients)
    register(NoGradients)
    register(Surrogates)
