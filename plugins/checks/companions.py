"""Does an answer depend on who shares the batch?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.observe import SAME
from auditor.record import Finding, FindingStatus, Severity
from auditor.verify import reached

PROBED = 32
"""Broken samples that are judged again in company."""


@dataclass(frozen=True, kw_only=True)
class Companions(Check):
    """A verdict that depends on who shares the batch can be changed by a neighbour: dynamic quantisation takes one
    scale for all, and layers in training mode mix their statistics.

    A sample alone is held against the same sample among others. Where company matters, adversarial examples and their
    clean inputs are judged once more, each in a batch filled up with other clean samples that are drawn by the seed.
    batch: its size, where nobody says how the file is deployed. Costs up to 64 batches.
    """

    name: ClassVar[str] = "companions"
    title: ClassVar[str] = "Output depends on the batch"
    source: ClassVar[str] = "advaudit; dynamic quantisation takes one scale per batch"
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        f"a sample's scores change by more than {SAME:g} of the largest, or its label, when others share its batch"
    )
    advice: ClassVar[str] = (
        "Deploy at batch 1 and say so (`[model] batch = 1`), or quantise statically; otherwise a neighbour can change "
        "a verdict."
    )

    batch: int = 16

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
        if evidence.target.deployed_batch == 1:
            return self.finding(
                FindingStatus.CLEAR,
                f"Scores change by up to {seen.companion_difference:.2g} of the largest score when inputs share a "
                "batch; the audit says that the file is deployed at batch 1, where none do.",
                value=seen.companion_difference,
                threshold=SAME,
            )
        return self.finding(
            FindingStatus.RAISED,
            f"Scores change by up to {seen.companion_difference:.2g} of the largest score, and {seen.companion_flips} "
            f"of {seen.probed} labels, when inputs share a batch. All verdicts here are for one input at a time."
            + self._in_company(evidence),
            value=seen.companion_difference,
            threshold=SAME,
        )

    def _in_company(self, evidence: Evidence) -> str:
        """What becomes of adversarial examples and of their clean inputs in a full batch, in words."""
        ledger, samples, goal = evidence.ledger, evidence.samples, evidence.threat.goal.target
        found = sorted(ledger.adversarial)[:PROBED]
        if not found:
            return ""
        held = correct = 0
        batch = evidence.target.deployed_batch or self.batch
        for index in found:
            label = int(samples.labels[index])
            held += reached(self._scores(evidence, index, ledger.adversarial[index], batch), label, goal)
            correct += int(self._scores(evidence, index, samples.inputs[index], batch).argmax()) == label
        return (
            f" Among {batch - 1} companions {held} of {len(found)} adversarial examples still reach their goal, "
            f"and {correct} of their {len(found)} clean inputs still get the right label."
        )

    def _scores(self, evidence: Evidence, index: int, x: np.ndarray, size: int) -> np.ndarray:
        """Scores `[classes]` of one input in a batch with others; place and company depend on seed and sample alone."""
        rng = np.random.default_rng((evidence.seed, int(evidence.samples.ids[index])))
        others = np.delete(np.arange(len(evidence.samples)), index)
        company = evidence.samples.inputs[rng.choice(others, size - 1, replace=len(others) < size - 1)]
        place = int(rng.integers(size))
        batch = np.insert(company, place, x, axis=0)
        scores: np.ndarray = evidence.target.scores(batch, batch=size)[place].astype(np.float64)
        return scores


@hookimpl
def register_checks(register: Register) -> None:
    register(Companions)
