"""Do the examples survive what stands in front of most deployed models: eight bits?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.limits import limit
from auditor.record import Finding, FindingStatus, Severity
from auditor.verify import reached

JUDGED = 128
LEVELS = 255


@dataclass(frozen=True, kw_only=True)
class Rounding(Check):
    """Pictures reach a deployed model in eight bits a channel. An example that exists only between those levels can't
    be shown to it as a file; where many are such, the number is lower than what an attacker can do with pictures.

    Adversarial examples, rounded to the levels, are put to the deployed model. Costs a query on up to 128 of them.
    """

    name: ClassVar[str] = "rounding"
    title: ClassVar[str] = "Examples that do not survive eight bits"
    source: ClassVar[str] = "advaudit; Kurakin et al. 2017"
    severity: ClassVar[Severity] = Severity.INFO
    raised_if: ClassVar[str] = (
        f"More than {limit('rounding'):.0%} of the adversarial examples are none any more once rounded to eight bits."
    )
    advice: ClassVar[str] = 'Where the model sees pictures of eight bits only, say so: `grid = "1/255"` in [[threat]].'
    again: ClassVar[bool] = True

    def look(self, evidence: Evidence) -> Finding:
        if not evidence.samples.pixels:
            return self.finding(FindingStatus.INCONCLUSIVE, "The samples are no pictures.", threshold=self.threshold)
        if evidence.threat.grid is not None:
            kept = "The threat's grid holds every example to what can be deployed."
            return self.finding(FindingStatus.CLEAR, kept, value=0.0, threshold=self.threshold)
        ledger = evidence.ledger
        index = evidence.lab.draw(np.array(sorted(ledger.adversarial), np.int64), JUDGED)
        if not len(index):
            return self.finding(FindingStatus.INCONCLUSIVE, "No example was found.", threshold=self.threshold)
        points = np.stack([ledger.adversarial[int(i)] for i in index])
        scores = evidence.lab.scores((np.rint(points * LEVELS) / LEVELS).astype(np.float32))
        goal, labels = evidence.threat.goal.target, evidence.samples.labels[index]
        held = [reached(row.astype(np.float64), int(label), goal) for row, label in zip(scores, labels, strict=True)]
        lost = 1 - float(np.mean(held))
        return self.finding(
            FindingStatus.RAISED if lost > self.threshold else FindingStatus.CLEAR,
            f"Of {len(index)} adversarial examples {sum(held)} still reach their goal when they are rounded.",
            value=lost,
            threshold=self.threshold,
        )


@hookimpl
def register_checks(register: Register) -> None:
    register(Rounding)
