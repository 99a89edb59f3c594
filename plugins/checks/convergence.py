"""Had the attack come to its end, and did it return what it found?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from auditor.access import Access
from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.limits import limit
from auditor.record import Finding, FindingStatus, Severity
from auditor.threat import Norm

PROBED = 32
JUDGED = 128
STEPS = 25


@dataclass(frozen=True, kw_only=True)
class Convergence(Check):
    """An attack that is stopped while its loss still falls understates what an attacker can do. Where twice the steps
    lead much closer to a break, or break more, the search was too short.

    APGD on the margin with 25 and with 50 steps, on up to 32 samples that the suite left standing: by how much of the
    way that 25 steps came the other 25 come closer still. Costs 77 forwards and 75 backwards each.
    """

    name: ClassVar[str] = "convergence"
    title: ClassVar[str] = "Twice the steps lead much further"
    source: ClassVar[str] = "Carlini et al. 2019; Pintor et al. 2022 (indicator 4)"
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        f"the second half of the steps lowers the margin by more than {limit('convergence'):.0%} of what all of them "
        "do, in the median over the samples that the suite left standing"
    )
    advice: ClassVar[str] = "Read the answers; give attacks more steps."
    technique: ClassVar[str] = "AML.T0043.000"
    answers: ClassVar[tuple[str, ...]] = ("margin",)

    def look(self, evidence: Evidence) -> Finding:
        lab = evidence.lab
        index = lab.standing(PROBED)
        if evidence.twin is None or evidence.threat.norm in (Norm.L0, Norm.SPATIAL):
            why = "It takes gradients, and a norm that APGD knows."
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        if not len(index):
            gone = "The suite left nobody standing, so no search was too short."
            return self.finding(FindingStatus.CLEAR, gone, value=0.0, threshold=self.threshold)
        clean = -lab.slopes(evidence.samples.inputs[index], index).loss
        short, long = (lab.play(lab.attack("apgd", loss="margin", steps=n), index) for n in (STEPS, 2 * STEPS))
        if failed := short.why_not or long.why_not:
            return self.finding(FindingStatus.INCONCLUSIVE, f"It can't be told: {failed}.", threshold=self.threshold)
        lowest = np.minimum(long.margin, short.margin)
        gained = np.maximum(clean - lowest, 1e-12)
        share = np.where(clean > lowest, (short.margin - lowest) / gained, 0)
        value = float(np.median(share))
        more = int((long.broken & ~short.broken).sum())
        return self.finding(
            FindingStatus.RAISED if value > self.threshold else FindingStatus.CLEAR,
            f"On {len(index)} samples that the suite left standing, steps {STEPS + 1} to {2 * STEPS} make up "
            f"{value:.1%} of the way in the median, and break {more} more.",
            value=value,
            threshold=self.threshold,
        )


@dataclass(frozen=True, kw_only=True)
class Silent(Check):
    """An attack that passes over an adversarial point and returns another reports a robustness that is not there. Here
    every point on the way is looked at, so this must never be raised: it watches the tool, not the model.

    The best point that was found for each sample that still stands is put to the deployed model once more. Costs a
    query on up to 128 samples.
    """

    name: ClassVar[str] = "silent"
    title: ClassVar[str] = "An adversarial point was found and not returned"
    source: ClassVar[str] = "Pintor et al. 2022 (indicator 3)"
    severity: ClassVar[Severity] = Severity.CRITICAL
    raised_if: ClassVar[str] = "the deployed model is wrong at the best point of a sample that is said to stand"
    advice: ClassVar[str] = "This is a bug of the tool: please report it with the record."
    again: ClassVar[bool] = True

    def look(self, evidence: Evidence) -> Finding:
        lab, ledger = evidence.lab, evidence.ledger
        if not any(row.status == "ran" and row.access != Access.DECISION for row in evidence.attacks):
            why = "No attack ran that measures how close it came."
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        if evidence.observation.randomised:
            why = "The model answers at random, so that one more answer says nothing."
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        index = lab.standing(JUDGED)
        search = lab.search
        wrong = [i for i in index if search.verifier.judge(int(i), ledger.best[i].astype(np.float32)).broken]
        lab.spent[2] += len(index)
        return self.finding(
            FindingStatus.RAISED if wrong else FindingStatus.CLEAR,
            f"The model is right at the best points of {len(index) - len(wrong)} of {len(index)} samples that stand.",
            value=float(len(wrong)),
            threshold=self.threshold,
        )


@hookimpl
def register_checks(register: Register) -> None:
    register(Convergence)
    register(Silent)
