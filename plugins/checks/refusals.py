"""Did the deployed model refuse what its twin, or its own scores, called a break?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auditor.access import Access
from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.record import Finding, FindingStatus, Severity
from auditor.sources import FAITHFUL
from auditor.verify import Reason

SHARE = 0.2
LEAST = 5
"""Refusals under which nothing is said: rounding at the boundary makes a few."""


@dataclass(frozen=True, kw_only=True)
class Refusals(Check):
    """Where many claimed breaks are not confirmed, twin and file part exactly where attacks lead, or the file answers
    with ties and NaN.

    A tie or a NaN is no adversarial example, but it is no robust answer either. Reads what the stages counted.
    """

    name: ClassVar[str] = "refusals"
    title: ClassVar[str] = "Claimed breaks that the model does not confirm"
    source: ClassVar[str] = "Pintor et al. 2022, indicator 5; the thresholds are ours"
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        f"at least {LEAST} claimed breaks, and more than {SHARE:.0%} of all, are not confirmed by the file: a tie, a "
        "NaN, or the clean label after all"
    )
    advice: ClassVar[str] = (
        "Look at what the model answers there: ties and NaN may be breaks to its user; where the twin is wrong, "
        "`--access score` attacks the file itself."
    )
    technique: ClassVar[str] = "AML.T0042"

    def look(self, evidence: Evidence) -> Finding:
        rows = [row for row in evidence.attacks if row.access != Access.DECISION and row.status != "skipped"]
        rows = [row for row in rows if row.source in FAITHFUL]  # what a stand-in claims is no claim about the file
        rows = [row for row in rows if row.phase != "hardness"]  # far away the twin may well be wrong
        if not any(row.entered for row in rows):
            return self.finding(FindingStatus.INCONCLUSIVE, "No attack that sees scores ran.", threshold=SHARE)
        if evidence.observation.randomised:
            why = "The model answers at random: what one draw claims, a vote may well refuse."
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=SHARE)
        odd = {
            r: sum(row.rejected.get(r, 0) for row in evidence.attacks if row.phase != "hardness")
            for r in (Reason.TIE, Reason.NO_ANSWER)
        }
        unlike = sum(row.rejected.get(Reason.NOT_MISCLASSIFIED, 0) for row in rows)
        refused = unlike + sum(odd.values())
        broken = sum(row.broken for row in rows)
        share = refused / max(refused + broken, 1)
        raised = refused >= LEAST and share > SHARE
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"{refused} claims were refused ({unlike} classified as before, {odd[Reason.TIE]} ties, "
            f"{odd[Reason.NO_ANSWER]} without an answer), {broken} were confirmed.",
            value=share,
            threshold=SHARE,
        )


@hookimpl
def register_checks(register: Register) -> None:
    register(Refusals)
