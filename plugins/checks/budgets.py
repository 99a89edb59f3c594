"""More freedom must never help the model: larger epsilons break more, and without a limit everything falls."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.lab import Played
from auditor.limits import limit
from auditor.record import Finding, FindingStatus, Severity
from auditor.threat import Norm

PROBED = 32
STEPS = 12
FACTORS = (0.5, 1.0, 2.0, 4.0)
WITHOUT = 100.0
"""Times epsilon that stands for no limit, where no bounds say how far an input can go."""


@dataclass(frozen=True, kw_only=True)
class Stretched(Check):
    """An attack at other epsilons than the threat's."""

    technique: ClassVar[str] = "AML.T0043.000"

    def played(self, evidence: Evidence, epsilons: list[float]) -> list[Played] | Finding:
        """What the attack does at each epsilon to the same samples; an inconclusive finding where it can't be
        played."""
        lab = evidence.lab
        index = lab.some(PROBED)
        if not lab.stretches or evidence.threat.norm is Norm.L0 or not len(index):
            why = "There is no epsilon to change here." if len(index) else "No sample is classified correctly."
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        attack = lab.attack("apgd", loss="margin", steps=STEPS)
        found = [lab.play(attack, index, epsilon=epsilon) for epsilon in epsilons]
        if failed := next((part.why_not for part in found if part.why_not), None):
            return self.finding(FindingStatus.INCONCLUSIVE, f"It can't be told: {failed}.", threshold=self.threshold)
        return found


@dataclass(frozen=True, kw_only=True)
class Unbounded(Stretched):
    """Without a limit any input can be turned into one of another class, so every sample must fall. Where an attack
    leaves some standing even so, it is the attack that fails, and its failure at epsilon means nothing.

    12 steps of APGD on the margin, from one random start, with the whole range of inputs as epsilon, on 32 samples; 100
    times epsilon where there are no bounds. Costs 13 forwards and 12 backwards each.
    """

    name: ClassVar[str] = "unbounded"
    title: ClassVar[str] = "An attack without a limit does not break everything"
    source: ClassVar[str] = "Athalye et al. 2018; Pintor et al. 2022 (indicator 6)"
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        f"more than {limit('unbounded'):.0%} of the samples withstand an attack that may change them without a limit"
    )
    advice: ClassVar[str] = "Read the answers; an attack that fails here says nothing at a smaller epsilon."
    answers: ClassVar[tuple[str, ...]] = ("margin", "smooth", "square")

    def look(self, evidence: Evidence) -> Finding:
        found = self.played(evidence, [largest(evidence)])
        if isinstance(found, Finding):
            return found
        left = ~found[0].broken
        return self.finding(
            FindingStatus.RAISED if left.mean() > self.threshold else FindingStatus.CLEAR,
            f"Without a limit {int(left.sum())} of {len(left)} samples withstand.",
            value=float(left.mean()),
            threshold=self.threshold,
        )


@dataclass(frozen=True, kw_only=True)
class Monotone(Stretched):
    """Every point of a small ball lies in a larger one too, so accuracy can only fall with epsilon. Where an attack
    does worse with more room, it loses its way, and at the threat's epsilon it may have too.

    12 steps of APGD on the margin at half, once, twice and four times epsilon, on 32 samples: 52 forwards and 48
    backwards each.
    """

    name: ClassVar[str] = "monotone"
    title: ClassVar[str] = "Accuracy does not fall with epsilon"
    source: ClassVar[str] = "Carlini et al. 2019"
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        f"more than {limit('monotone'):.0%} of the samples, and more than one, fall at an epsilon and withstand at "
        "twice that"
    )
    advice: ClassVar[str] = "Read the answers; use more restarts, and attacks without gradients."
    answers: ClassVar[tuple[str, ...]] = ("margin", "square")

    def look(self, evidence: Evidence) -> Finding:
        most = largest(evidence)
        epsilons = [e for e in (evidence.threat.epsilon * factor for factor in FACTORS) if e < most]
        if len(epsilons) < 2:
            why = "Epsilon is so large already that there is nothing to compare with."
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        found = self.played(evidence, epsilons)
        if isinstance(found, Finding):
            return found
        broken = np.stack([part.broken for part in found])
        lost = [int((one & ~more).sum()) for one, more in pairwise(broken)]
        share = max(lost) / broken.shape[1]
        told = ", ".join(f"{rate:.0%} at {e:.3g}" for rate, e in zip(broken.mean(axis=1), epsilons, strict=True))
        return self.finding(
            FindingStatus.RAISED if share > self.threshold and max(lost) > 1 else FindingStatus.CLEAR,
            f"Of {broken.shape[1]} samples fell {told}; {max(lost)} fell at one of these and withstood at twice it.",
            value=share,
            threshold=self.threshold,
        )


def largest(evidence: Evidence) -> float:
    """The epsilon that is no limit: the whole range of an input in the threat's norm."""
    threat, features = evidence.threat, evidence.samples.inputs[0].size
    if threat.bounds is None:
        return WITHOUT * threat.epsilon
    span = threat.bounds[1] - threat.bounds[0]
    return float(span * {Norm.LINF: 1.0, Norm.L2: features**0.5, Norm.L1: float(features)}.get(threat.norm, 1.0))


@hookimpl
def register_checks(register: Register) -> None:
    register(Unbounded)
    register(Monotone)
