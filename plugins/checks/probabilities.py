"""Does the model return probabilities, which saturate?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auditor.access import OutputKind
from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.record import Finding, FindingStatus, Severity


@dataclass(frozen=True, kw_only=True)
class Probabilities(Check):
    """Probabilities saturate: where they are exactly 0 and 1 the gradient of the cross-entropy is dead. Says what was
    done about it."""

    name: ClassVar[str] = "probabilities"
    title: ClassVar[str] = "Output is probabilities, not logits"
    source: ClassVar[str] = "Croce and Hein 2020 (AutoAttack's check)"
    severity: ClassVar[Severity] = Severity.INFO
    raised_if: ClassVar[str] = "the file returns probabilities; information, since their logarithm is attacked"
    advice: ClassVar[str] = (
        "Nothing to do; a tool that attacks the probabilities themselves would report too high a number."
    )

    def look(self, evidence: Evidence) -> Finding:
        kind = evidence.target.output
        if kind is not OutputKind.PROBABILITIES:
            return self.finding(FindingStatus.CLEAR, f"The output is {kind}.")
        cut = evidence.twin.peeled if evidence.twin is not None else None
        how = (
            f"the twin leaves the last {cut} out, so attacks see the logits"
            if cut
            else "attacks see the logarithm of the probabilities"
        )
        return self.finding(
            FindingStatus.RAISED,
            f"The model returns probabilities; {how}.",
        )


@hookimpl
def register_checks(register: Register) -> None:
    register(Probabilities)
