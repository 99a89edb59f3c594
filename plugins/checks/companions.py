"""Does an answer depend on who shares the batch?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.observe import SAME
from auditor.record import Finding, FindingStatus, Severity


@dataclass(frozen=True, kw_only=True)
class Companions(Check):
    """A sample alone against the same sample among others: dynamic quantisation and train-mode layers mix them."""

    name: ClassVar[str] = "companions"
    title: ClassVar[str] = "Output depends on the batch"
    source: ClassVar[str] = "advaudit; dynamic quantisation takes one scale per batch"
    severity: ClassVar[Severity] = Severity.WARNING

    def look(self, evidence: Evidence) -> Finding:
        seen = evidence.observation
        if evidence.target.batch == 1:
            return self.finding(FindingStatus.CLEAR, "The file takes one sample at a time.", value=0.0, threshold=SAME)
        if seen.probed < 2 or seen.randomised:
            why = "one sample has no company" if seen.probed < 2 else "the output is randomised anyway"
            return self.finding(FindingStatus.INCONCLUSIVE, f"It can't be told: {why}.", threshold=SAME)
        if not seen.batch_dependent:
            return self.finding(
                FindingStatus.CLEAR,
                f"{seen.probed} inputs got the same scores alone and together.",
                value=seen.companion_difference,
                threshold=SAME,
            )
        return self.finding(
            FindingStatus.RAISED,
            f"Scores change by up to {seen.companion_difference:.2g} of the largest score, and {seen.companion_flips} "
            f"of {seen.probed} labels, when inputs share a batch. All verdicts here are for one input at a time.",
            "Deploy at batch 1, or quantise statically; otherwise a neighbour can change a verdict.",
            value=seen.companion_difference,
            threshold=SAME,
        )


@hookimpl
def register_checks(register: Register) -> None:
    register(Companions)
