"""Did an attack without gradients break what the white-box attacks left standing?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from auditor.access import Access
from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.limits import limit
from auditor.metrics import wilson
from auditor.record import AttackRow, Finding, FindingStatus, Severity

REPLAYED = 64
"""Samples on which the white-box attacks of an answer are tried, of those that only a gradient-free attack broke."""


@dataclass(frozen=True, kw_only=True)
class GradientFree(Check):
    """Whoever follows gradients knows more than who does not, and should not be beaten: where an attack that sees
    scores alone breaks what they left standing, the gradients led astray, or the search was too short.

    Reads the stages after the last white-box one. Costs nothing.
    """

    name: ClassVar[str] = "gradient_free"
    title: ClassVar[str] = "Gradient-free attacks add to white-box ones"
    source: ClassVar[str] = "Carlini et al. 2019; Croce and Hein 2020 (0.002)"
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        f"attacks that see scores or labels alone, played after the last white-box attack, break more than "
        f"{limit('gradient_free'):.1%} of all samples, and more than one"
    )
    advice: ClassVar[str] = "Read what the answers found: the bound was not tight. A longer `square` may find more."
    technique: ClassVar[str] = "AML.T0043.001"
    answers: ClassVar[tuple[str, ...]] = ("margin", "square")
    again: ClassVar[bool] = True

    def look(self, evidence: Evidence) -> Finding:
        gap = after_white_box(evidence)
        if isinstance(gap, str):
            return self.finding(FindingStatus.INCONCLUSIVE, gap, how(evidence), threshold=self.threshold)
        # one sample is not evidence: on robust models the last stage of any suite finds a stray one
        raised = gap.broken > max(1, self.threshold * gap.n)
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"Gradient-free attacks broke {gap.broken} of the {gap.met} samples that the white-box attacks had left "
            "standing." + (" They count; but a longer search may find more." if raised else ""),
            value=gap.broken / gap.n,
            threshold=self.threshold,
        )


@dataclass(frozen=True, kw_only=True)
class GradientFreeGap(Check):
    """On honest robust models a gradient-free search now and then finds a sample that gradients missed. Where it finds
    many, and white-box attacks with sound losses and many restarts still don't, the model's gradients mislead.

    The samples that only gradient-free attacks broke are attacked once more by gradients, with the losses and restarts
    of the answer `margin`; those that still withstand make the gap. Costs that answer on up to 64 samples where the
    gap could be large, else nothing.
    """

    name: ClassVar[str] = "gradient_free_gap"
    title: ClassVar[str] = "Gradient-free attacks beat white-box ones by far"
    source: ClassVar[str] = "Athalye et al. 2018; Carlini et al. 2019"
    severity: ClassVar[Severity] = Severity.CRITICAL
    raised_if: ClassVar[str] = (
        "the share of all samples that gradient-free attacks broke and that white-box attacks with many restarts do "
        f"not break is, with 95 % confidence, above {limit('gradient_free_gap'):.0%}"
    )
    advice: ClassVar[str] = "Look for rounding, thresholds or saturation in the model; attack a copy without them."
    technique: ClassVar[str] = "AML.T0043.001"
    masks: ClassVar[bool] = True
    answers: ClassVar[tuple[str, ...]] = ("smooth", "square", "transfer")
    again: ClassVar[bool] = True

    def look(self, evidence: Evidence) -> Finding:
        gap = after_white_box(evidence)
        if isinstance(gap, str):
            return self.finding(FindingStatus.INCONCLUSIVE, gap, how(evidence), threshold=self.threshold)
        won = won_without_gradients(evidence)
        n = max(len(evidence.samples), 1)
        missed = self._missed(evidence, won) if least(len(won), n) > self.threshold else float(len(won))
        low = least(round(missed), n)
        raised = low > self.threshold
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"Gradient-free attacks broke {len(won)} samples that white-box attacks had left; by gradients, with sound "
            f"losses and many restarts, some {round(missed)} of them do not fall: {missed / n:.1%} of all samples, "
            f"with 95 % confidence at least {low:.1%}."
            + (" White-box results say little about this model." if raised else ""),
            value=missed / n,
            threshold=self.threshold,
        )

    def _missed(self, evidence: Evidence, won: np.ndarray) -> float:
        """How many of these samples white-box attacks with sound losses and many restarts leave standing."""
        lab = evidence.lab
        tried = lab.draw(won, REPLAYED)
        left = np.ones(len(tried), bool)
        for stage in lab.answer("margin"):
            if left.any():
                played = lab.play(stage.attack, tried[left], restarts=stage.restarts)
                left[left] = ~played.broken
        return len(won) * float(left.mean())


@dataclass(frozen=True)
class Gap:
    """broken of the met samples fell to gradient-free attacks alone; n samples in all."""

    broken: int
    met: int
    n: int


def after_white_box(evidence: Evidence) -> Gap | str:
    """What gradient-free stages broke after the last white-box one, or in words why the two can't be compared."""
    white = [i for i, row in enumerate(evidence.attacks) if _white(row)]
    if not white:
        return "No white-box attack ran, so the two can't be compared."
    after = [row for row in evidence.attacks[white[-1] :] if _blind(row)]
    met = sum(row.entered for row in after)
    if len(evidence.ledger.standing) and not met:
        return "No score-based attack ran after the white-box ones, so the two can't be compared."
    return Gap(sum(row.broken for row in after), met, max(len(evidence.samples), 1))


def won_without_gradients(evidence: Evidence) -> np.ndarray:
    """Positions of the samples that a gradient-free attack broke after a white-box one had left them standing."""
    first = next(i for i, row in enumerate(evidence.attacks) if _white(row))
    blind = [i for i, row in enumerate(evidence.attacks) if i > first and _blind(row)]
    return np.flatnonzero(evidence.ledger.broken & np.isin(evidence.ledger.stage, blind))


def least(k: int, n: int) -> float:
    """Lower end of the 95 % interval of k of n."""
    return (wilson(k, n) or (0.0, 1.0))[0]


def how(evidence: Evidence) -> str:
    """What would let the two be compared."""
    if evidence.twin is None:
        return "Only a twin with gradients lets the two be compared; `advaudit doctor` says what it lacks."
    return "Add `square` to the suite (`sparse-rs` under l0)."


def _white(row: AttackRow) -> bool:
    return row.climbed and row.source == "twin"


def _blind(row: AttackRow) -> bool:
    return row.status == "ran" and row.access != Access.GRADIENT and row.attack != "noise"


@hookimpl
def register_checks(register: Register) -> None:
    register(GradientFree)
    register(GradientFreeGap)
