"""Did an attack without gradients break what the white-box attacks left standing?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auditor.access import Access
from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.record import AttackRow, Finding, FindingStatus, Severity

ALLOWED = 0.002
"""AutoAttack's figure: Square below the white-box bound by more than 0.2 points."""


@dataclass(frozen=True, kw_only=True)
class GradientFree(Check):
    """Share of all samples that only a gradient-free attack broke, after the white-box ones had run."""

    name: ClassVar[str] = "gradient_free"
    title: ClassVar[str] = "Gradient-free attacks beat white-box ones"
    source: ClassVar[str] = "Carlini et al. 2019; Croce and Hein 2020 (0.002)"
    severity: ClassVar[Severity] = Severity.WARNING
    masks: ClassVar[bool] = True

    def look(self, evidence: Evidence) -> Finding:
        white = [i for i, row in enumerate(evidence.attacks) if _ran(row) and row.access == Access.GRADIENT]
        after = [row for row in evidence.attacks[max(white, default=0) :] if _ran(row) and row.access == Access.SCORE]
        n = len(evidence.samples)
        met = sum(row.entered for row in after)
        standing = len(evidence.ledger.standing)
        if not white or not after or (met == 0 and standing > 0):
            missing = "white-box attack" if not white else "score-based attack after the white-box ones"
            return self.finding(
                FindingStatus.INCONCLUSIVE,
                f"No {missing} ran, so the two can't be compared.",
                "Add `square` to the suite.",
                threshold=ALLOWED,
            )
        broken = sum(row.broken for row in after)
        # one sample is not evidence of masking: on robust models the last stage of any suite finds a stray one
        raised = broken > max(1, ALLOWED * n)
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"Gradient-free attacks broke {broken} of the {met} samples that the white-box attacks had left standing.",
            "The gradients mislead: run more restarts of square, and look for rounding, thresholds or saturation."
            if raised
            else "",
            value=broken / max(n, 1),
            threshold=ALLOWED,
        )


def _ran(row: AttackRow) -> bool:
    return row.status == "ran"


@hookimpl
def register_checks(register: Register) -> None:
    register(GradientFree)
