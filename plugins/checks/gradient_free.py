"""Did an attack without gradients break what the white-box attacks left standing?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auditor.access import Access
from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.metrics import wilson
from auditor.record import AttackRow, Finding, FindingStatus, Severity
from auditor.threat import Norm

ALLOWED = 0.002
"""AutoAttack's figure: Square below the white-box bound by more than 0.2 points."""
HONEST = 0.03
"""What two published, honestly trained MNIST nets show under the original AutoAttack: 1 and 3 points."""


@dataclass(frozen=True, kw_only=True)
class GradientFree(Check):
    """Share of all samples that only a gradient-free attack broke, after the white-box ones had run."""

    name: ClassVar[str] = "gradient_free"
    title: ClassVar[str] = "Gradient-free attacks add to white-box ones"
    source: ClassVar[str] = "Carlini et al. 2019; Croce and Hein 2020 (0.002)"
    severity: ClassVar[Severity] = Severity.WARNING

    def look(self, evidence: Evidence) -> Finding:
        gap = measure(evidence)
        if isinstance(gap, str):
            return self.finding(FindingStatus.INCONCLUSIVE, gap, advice(evidence), threshold=ALLOWED)
        # one sample is not evidence: on robust models the last stage of any suite finds a stray one
        raised = gap.broken > max(1, ALLOWED * gap.n)
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"Gradient-free attacks broke {gap.broken} of the {gap.met} samples that the white-box attacks had left "
            "standing."
            + (" They count; but a longer search may find more, so the bound is not tight." if raised else ""),
            "Run more restarts and steps of square." if raised else "",
            value=gap.broken / gap.n,
            threshold=ALLOWED,
        )


@dataclass(frozen=True, kw_only=True)
class GradientFreeGap(Check):
    """The same gap, so large that honest models do not show it: the gradients mislead."""

    name: ClassVar[str] = "gradient_free_gap"
    title: ClassVar[str] = "Gradient-free attacks beat white-box ones by far"
    source: ClassVar[str] = "Athalye et al. 2018; honest nets show up to 3 points (AutoAttack on MNIST, linf 0.3)"
    severity: ClassVar[Severity] = Severity.CRITICAL
    masks: ClassVar[bool] = True

    def look(self, evidence: Evidence) -> Finding:
        gap = measure(evidence)
        if isinstance(gap, str):
            return self.finding(FindingStatus.INCONCLUSIVE, gap, advice(evidence), threshold=HONEST)
        least = (wilson(gap.broken, gap.n) or (0.0, 1.0))[0]
        raised = least > HONEST
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"Gradient-free attacks alone broke {gap.broken / gap.n:.1%} of all samples, with 95 % confidence at least "
            f"{least:.1%}." + (" White-box results say little about this model." if raised else ""),
            "Look for rounding, thresholds or saturation in the model; attack a copy without them." if raised else "",
            value=gap.broken / gap.n,
            threshold=HONEST,
        )


@dataclass(frozen=True)
class Gap:
    """broken of the met samples fell to gradient-free attacks alone; n samples in all."""

    broken: int
    met: int
    n: int


def measure(evidence: Evidence) -> Gap | str:
    """The gap, or in words why it can't be told."""
    white = [i for i, row in enumerate(evidence.attacks) if _ran(row) and row.access == Access.GRADIENT]
    if not white:
        return "No white-box attack ran, so the two can't be compared."
    after = [row for row in evidence.attacks[white[-1] :] if _ran(row) and row.access == Access.SCORE]
    met = sum(row.entered for row in after)
    if not after or (met == 0 and len(evidence.ledger.standing)):
        return "No score-based attack ran after the white-box ones, so the two can't be compared."
    return Gap(sum(row.broken for row in after), met, max(len(evidence.samples), 1))


def advice(evidence: Evidence) -> str:
    """What would let the two be compared."""
    if evidence.threat.norm not in (Norm.LINF, Norm.L2):
        return f"No bundled attack without gradients is for {evidence.threat.norm}; a plugin may bring one."
    if evidence.twin is None:
        return "Only a twin with gradients lets the two be compared; `advaudit doctor` says what it lacks."
    return "Add `square` to the suite."


def _ran(row: AttackRow) -> bool:
    return row.status == "ran"


@hookimpl
def register_checks(register: Register) -> None:
    register(GradientFree)
    register(GradientFreeGap)
