"""Does the twin compute what the file computes?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from msgspec import structs

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.record import Finding, FindingStatus, Severity

DOCTOR = "`advaudit doctor` with this file and these samples names the node where twin and file part."
ROUNDING = 1e-2
"""Share of a class's largest score; half-precision files, which the twin computes in float32, differ by half of it."""


@dataclass(frozen=True, kw_only=True)
class TwinFidelity(Check):
    """Attacks search on the twin and the file decides. Where the two answer differently, gradients are those of another
    model, and what they find says little about this one.

    Label agreement and scores on up to 128 clean samples, and on as many adversarial examples.
    """

    name: ClassVar[str] = "fidelity"
    title: ClassVar[str] = "Twin and file disagree"
    source: ClassVar[str] = "Pintor et al. 2022 (indicator 5)"
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        "twin and file give fewer of the clean samples the same label than the floor of fidelity (as information: "
        f"their scores differ by more than {ROUNDING:.0%} of a class's largest)"
    )
    advice: ClassVar[str] = f"White-box results are doubtful: {DOCTOR}"
    technique: ClassVar[str] = "AML.T0043.000"

    def look(self, evidence: Evidence) -> Finding:
        measured = evidence.fidelity
        if measured is None:
            return self.finding(FindingStatus.INCONCLUSIVE, f"There is no twin: {evidence.why_no_twin}")
        text = (
            f"Twin and file give {measured.n} clean samples the same label in {measured.label_agreement:.1%} of the "
            f"cases; scores differ by at most {measured.max_difference:.2g} (largest score {measured.scale:.3g})."
        )
        if measured.adversarial_label_agreement is not None:
            text += (
                f" On {measured.adversarial_n} adversarial examples in {measured.adversarial_label_agreement:.1%} of "
                f"the cases, and by at most {measured.adversarial_max_difference:.2g}."
            )
        if measured.low:
            return self.finding(
                FindingStatus.RAISED,
                text,
                value=measured.label_agreement,
                threshold=measured.floor,
            )
        exact = evidence.twin is not None and not evidence.twin.surrogates and not evidence.twin.random
        if exact and measured.relative_difference > ROUNDING:
            worth_knowing = self.finding(
                FindingStatus.RAISED,
                f"{text} That is more than rounding, though too little to change labels here.",
                f"Find out why: {DOCTOR}",
                value=measured.relative_difference,
                threshold=ROUNDING,
            )
            return structs.replace(worth_knowing, severity=Severity.INFO)
        return self.finding(FindingStatus.CLEAR, text, value=measured.label_agreement, threshold=measured.floor)


@hookimpl
def register_checks(register: Register) -> None:
    register(TwinFidelity)
