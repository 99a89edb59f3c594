"""Do the deployed model's answers move in steps, where the twin's gradient says that they move at all?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.limits import limit
from auditor.readings import along, flat, full, hindrance
from auditor.record import Finding, FindingStatus, Severity

SHARES = (1 / 16, 1 / 8, 1 / 4)
"""Of the way to where the gradient leads within the threat."""
WHOLE = 1.01
"""Of the way, and a little for what rounding took off it: a threat of two steps of eight bits is looked across."""


@dataclass(frozen=True, kw_only=True)
class Steps(Check):
    """A model that rounds its input or its inner values coarsely answers exactly the same over some way, and then
    jumps. Attacks that take small steps see nothing, those without gradients stand on a plateau, and the gradients of
    its twin are stand-ins. Input quantisation, thermometer encodings and a comparison as the last operator do that.

    Walks from each sample to where the twin's gradient leads within the threat, a sixteenth, an eighth and a quarter of
    the way, and holds what the file answers against what the gradient predicts. No feature that counts is moved by less
    than two steps of eight bits (or of the threat's grid), which honest files may round away. Costs a forward, a
    backward and four queries a sample.
    """

    name: ClassVar[str] = "steps"
    title: ClassVar[str] = "Answers move in steps"
    source: ClassVar[str] = "Athalye et al. 2018 (shattered gradients of quantised inputs); the figures are measured"
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        f"On more than {limit('steps'):.0%} of the samples the file answers exactly as at the sample, up to float32's "
        "rounding, after a step along the gradient of a sixteenth of the threat."
    )
    advice: ClassVar[str] = (
        "Look for rounding, comparisons or coarse scales in the file, in front and inside; attack a copy without them, "
        "and judge the examples by the file."
    )
    technique: ClassVar[str] = "AML.T0043.002"
    masks: ClassVar[bool] = True
    answers: ClassVar[tuple[str, ...]] = ("smooth", "transfer", "square", "decision")

    def look(self, evidence: Evidence) -> Finding:
        lab = evidence.lab
        index = lab.some()
        why = hindrance(evidence, index, scores=True)
        if why is not None:
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        x = evidence.samples.inputs[index].astype(np.float64)
        here = lab.slopes(x, index)
        slope = here.gradient
        change = lab.furthest(index, slope) - x
        promised = flat(slope * change).sum(axis=1)
        before = lab.margins(x, index)
        least = lab.stride(change, slope)
        use = (least <= WHOLE) & np.isfinite(promised) & (promised > 0) & ~full(evidence, before, here.loss)
        if not use.any():
            return self.finding(
                FindingStatus.INCONCLUSIVE,
                "The threat is finer than the steps of eight bits, the gradients promise nothing or the probabilities "
                "are full, so that no step could be told from those.",
                threshold=self.threshold,
            )
        index, x, change, promised, least, before = (part[use] for part in (index, x, change, promised, least, before))
        shares = [np.maximum(share, least) for share in SHARES]
        moved = [before - lab.margins(x + along(change, share), index) for share in shares]
        ratio = np.stack([drop / (share * promised) for drop, share in zip(moved, shares, strict=True)])
        stays = np.abs(moved[0]) <= limit("steps.moved") * np.maximum(np.abs(before), 1)
        little = np.abs(ratio[0]) < limit("steps.little")
        value = float(stays.mean())
        raised = value > self.threshold
        middle = ", ".join(f"{np.median(row):.2g}" for row in ratio)
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"On {stays.sum()} of {len(index)} correctly classified samples the file answers exactly the same after "
            f"the first step along the gradient, on {little.sum()} it moves less than "
            f"{limit('steps.little'):g} times as far as predicted; a sixteenth, an eighth and a quarter of the way it "
            f"moves {middle} times as far in the median."
            + (" Something on the way to its scores is rounded coarsely or compared." if raised else ""),
            value=value,
            threshold=self.threshold,
        )


@hookimpl
def register_checks(register: Register) -> None:
    register(Steps)
