"""Does the model answer the same input the same way twice?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.observe import REPEATS, SAME, VOTES
from auditor.record import Finding, FindingStatus, Severity


@dataclass(frozen=True, kw_only=True)
class Randomised(Check):
    """An attack that sees one draw of a randomised model is fooled by the next: its gradient is that of a model which
    is never asked again.

    Identical queries are compared, which the first look at the model does anyway.
    """

    name: ClassVar[str] = "randomised"
    title: ClassVar[str] = "Randomised output"
    source: ClassVar[str] = "Croce and Hein 2020 (AutoAttack's check, 1e-4)"
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        f"the same input gets scores that differ by more than {SAME:g} of the largest, or another label, in {REPEATS} "
        "queries"
    )
    advice: ClassVar[str] = "Fix the randomness if it is not meant; otherwise read the answer that averages over it."
    answers: ClassVar[tuple[str, ...]] = ("expected", "decision")
    masks: ClassVar[bool] = True

    def look(self, evidence: Evidence) -> Finding:
        seen = evidence.observation
        if not seen.randomised:
            return self.finding(
                FindingStatus.CLEAR,
                f"{seen.probed} inputs asked {REPEATS} times each got the same scores.",
                value=seen.repeat_difference,
                threshold=SAME,
            )
        return self.finding(
            FindingStatus.RAISED,
            f"The same input gets different scores (up to {seen.repeat_difference:.2g} of the largest score) and "
            f"{seen.repeat_flips} labels changed. Each candidate was therefore asked {VOTES} times, and counts as "
            "broken only where the bound on its error exceeds one half.",
            value=seen.repeat_difference,
            threshold=SAME,
        )


@hookimpl
def register_checks(register: Register) -> None:
    register(Randomised)
