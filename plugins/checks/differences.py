"""Is the gradient that attacks follow the derivative of what is deployed?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.limits import limit
from auditor.readings import Array, along, flat, full, hindrance
from auditor.record import Finding, FindingStatus, Severity

STEP = 0.1
"""Half the distance of the two points, as a share of the way across the threat."""
INWARD = 0.5
"""How far from the sample to a random point of the threat they lie, so that both sides are inside it."""
LEAST = 8
"""Samples below which a share says little."""
COARSE = 0.5
"""Share of the threat that two steps of eight bits may take up in a file that rounds."""


@dataclass(frozen=True, kw_only=True)
class Differences(Check):
    """An attack goes where the backward pass leads. Where that pass is not the derivative of the deployed model, as
    with a custom backward, a stand-in that is a poor one, or a twin that is another model, it is led astray, and what
    it fails to break says nothing.

    Takes a point within the threat and holds the file's central difference there against the gradient: in the direction
    in which the gradient promises most, and in that of a random half of the features; over a tenth of the threat, where
    the loss of a deep net may still be straight, and over what eight bits resolve, where an honest file does not round.
    Either will do. Where the file does not move at all `steps` speaks. A file
    that rounds is not judged under a threat of a few such steps. Costs nine forwards and backwards and eight
    queries a sample.
    """

    name: ClassVar[str] = "differences"
    title: ClassVar[str] = "The gradient is not the model's slope"
    source: ClassVar[str] = "Athalye et al. 2018 (gradients that are not the derivative); the figures are measured"
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        f"On more than {limit('differences'):.0%} of what was tried where the file moves, its central difference and "
        f"the gradient differ by more than {limit('differences.off'):.0%} of the larger, both over a tenth of the "
        "threat and over what eight bits resolve."
    )
    advice: ClassVar[str] = (
        "Look for custom backward passes and for stand-ins (`advaudit doctor` names them and compares twin and file); "
        "believe gradient-free attacks more than white-box ones."
    )
    technique: ClassVar[str] = "AML.T0043.001"
    masks: ClassVar[bool] = True
    answers: ClassVar[tuple[str, ...]] = ("smooth", "square")

    def look(self, evidence: Evidence) -> Finding:
        lab = evidence.lab
        index = lab.some()
        why = hindrance(evidence, index, scores=True)
        if why is not None:
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        x = evidence.samples.inputs[index].astype(np.float64)
        x = x + INWARD * (lab.problem(index, self.name).random_point().cpu().numpy() - x)
        slope = lab.slopes(x, index).gradient
        if why := self._unfair(evidence, index, slope):
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        half = lab.rng(self.name).random(x.shape[1:]) < 0.5
        slopes = (slope, np.where(half, slope, 0.0))
        ways = [self._across(evidence, index, x, slope, fine) for slope in slopes for fine in (True, False)]
        seen = np.concatenate([ways[0].seen | ways[1].seen, ways[2].seen | ways[3].seen])
        off = np.concatenate([ways[0].off & ways[1].off, ways[2].off & ways[3].off])
        if not seen.any():
            return self.finding(
                FindingStatus.INCONCLUSIVE,
                "The file's answers do not move across any of the distances that were tried, so there is no slope.",
                threshold=self.threshold,
            )
        value = float(off.sum() / seen.sum())
        raised = value > self.threshold
        alike = ways[1].alike[ways[1].off].mean() > 0.5 if raised and ways[1].off.any() else True
        whose = "backward pass is not its derivative" if alike else "scores are not the file's"
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"Of {seen.sum()} central differences of the file, two on each of {len(index)} correctly classified "
            f"samples less those where it stays, {off.sum()} are far from what the twin's gradient says."
            + (f" Mostly, the twin's {whose}." if raised else ""),
            value=value,
            threshold=self.threshold,
        )

    def _unfair(self, evidence: Evidence, index: Array, slope: Array) -> str | None:
        """Why a slope of this file can't be told from what rounding makes of it, in words; None where it can."""
        if len(index) < LEAST:
            return f"{len(index)} samples are too few to say, it takes {LEAST}."
        change = np.where(slope != 0, evidence.lab.furthest(index, slope) - evidence.samples.inputs[index], 0.0)
        coarse = float(np.median(evidence.lab.stride(change, slope)))
        if evidence.twin is not None and evidence.twin.surrogates and coarse > COARSE:
            return (
                "The file rounds, and the threat is no larger than a few steps of eight bits: over so short a way its "
                "answers move by rounding more than by slope."
            )
        return None

    def _across(self, evidence: Evidence, index: Array, x: Array, slope: Array, fine: bool) -> Way:
        """What the margin does across x along a slope, over a tenth of the threat or, unless `fine`, over as much as
        eight bits resolve."""
        lab = evidence.lab
        change = np.where(slope != 0, lab.furthest(index, slope) - evidence.samples.inputs[index], 0.0)
        share = STEP if fine else np.maximum(STEP, np.minimum(lab.stride(change, slope), INWARD))
        box = (evidence.region.lower[index], evidence.region.upper[index])
        behind, ahead = np.clip(x - along(change, share), *box), np.clip(x + along(change, share), *box)
        ends = [(lab.margins(point, index), lab.slopes(point, index).loss) for point in (behind, ahead)]
        file, twin = ends[0][0] - ends[1][0], ends[1][1] - ends[0][1]
        promise = flat(slope * (ahead - behind)).sum(axis=1)
        size = np.maximum(np.abs(file), np.abs(promise))
        blind = ~np.isfinite(promise) | full(evidence, *ends[0]) | full(evidence, *ends[1])
        seen = ~blind & (np.abs(file) > limit("differences.moves") * np.abs(promise)) & (size > 0)
        with np.errstate(invalid="ignore"):
            off = seen & (np.abs(file - promise) > limit("differences.off") * size)
            return Way(seen, off, np.abs(file - twin) <= limit("differences.off") * size)


@dataclass(frozen=True)
class Way:
    """What was seen across some points, bool `[n]`. seen: the file moved. off: otherwise than the gradient says. alike:
    as the twin's own values do."""

    seen: Array
    off: Array
    alike: Array


@hookimpl
def register_checks(register: Register) -> None:
    register(Differences)
