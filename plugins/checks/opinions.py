"""Second opinions: attacks that know less than the suite's are tried on what it left standing, and should not win."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.lab import Played
from auditor.limits import limit
from auditor.record import Finding, FindingStatus, Severity
from auditor.threat import Norm


@dataclass(frozen=True, kw_only=True)
class Opinion(Check):
    """An attack of another kind, on some of the samples that the suite left standing. What it breaks counts."""

    severity: ClassVar[Severity] = Severity.WARNING
    kind: ClassVar[str]

    def look(self, evidence: Evidence) -> Finding:
        lab = evidence.lab
        if not any(row.climbed for row in evidence.attacks):
            why = "No white-box attack ran, so there is nothing to hold this against."
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        most = self.deep_samples if lab.deep else self.samples
        index = lab.standing(most)
        if not len(index):
            gone = "The suite left nobody standing, so nobody is left that it could have missed."
            return self.finding(FindingStatus.CLEAR, gone, value=0.0, threshold=self.threshold)
        played = self.ask(evidence, index)
        if isinstance(played, str):
            return self.finding(FindingStatus.INCONCLUSIVE, played, threshold=self.threshold)
        broken = int(np.isin(index, np.concatenate([part.index[part.broken] for part in played])).sum())
        if not broken and (failed := next((part.why_not for part in played if part.why_not), None)):
            return self.finding(
                FindingStatus.INCONCLUSIVE, f"It could not be asked: {failed}.", threshold=self.threshold
            )
        raised = broken / len(index) > self.threshold and broken > 1
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"Of {len(index)} samples that the suite had left standing, {self.kind} broke {broken}."
            + (" One by itself is not held against the model." if broken == 1 else ""),
            value=broken / len(index),
            threshold=self.threshold,
        )

    samples: ClassVar[int]
    deep_samples: ClassVar[int]

    @abstractmethod
    def ask(self, evidence: Evidence, index: np.ndarray) -> list[Played] | str:
        """What the attacks did to these samples; in words why none can be asked."""


@dataclass(frozen=True, kw_only=True)
class RandomGap(Opinion):
    """Points drawn at random know nothing of the model. A sample that falls to them, after a search by gradients left
    it standing, shows that the search failed, not that the model is robust.

    Costs 200 queries on up to 32 samples; with `--deep` 10,000 on 128.
    """

    name: ClassVar[str] = "random_gap"
    title: ClassVar[str] = "Random points break what attacks left standing"
    source: ClassVar[str] = "Athalye et al. 2018; Carlini et al. 2019 (10,000 draws)"
    severity: ClassVar[Severity] = Severity.CRITICAL
    raised_if: ClassVar[str] = (
        f"random corners and points of the ball break more than {limit('random_gap'):.0%}, and more than one, of the "
        "samples that the suite left standing"
    )
    advice: ClassVar[str] = "Do not trust the white-box results; read the answers without gradients."
    technique: ClassVar[str] = "AML.T0043.001"
    masks: ClassVar[bool] = True
    answers: ClassVar[tuple[str, ...]] = ("margin", "square", "smooth")
    kind: ClassVar[str] = "random points"
    samples: ClassVar[int] = 32
    deep_samples: ClassVar[int] = 128

    def ask(self, evidence: Evidence, index: np.ndarray) -> list[Played] | str:
        lab = evidence.lab
        steps, at_once = (625, 16) if lab.deep else (200, 1)
        return [lab.play(lab.attack("noise", steps=steps, at_once=at_once), index)]


@dataclass(frozen=True, kw_only=True)
class HardLabelGap(Opinion):
    """An attack that sees nothing but labels is far weaker than one with gradients. Where it wins all the same, scores
    and gradients of the model lead astray.

    RayS under linf, HopSkipJump under l2. Costs up to 300 queries on up to 16 samples; with `--deep`
    2,000 on 128.
    """

    name: ClassVar[str] = "hard_label_gap"
    title: ClassVar[str] = "Labels alone break what attacks left standing"
    source: ClassVar[str] = "Carlini et al. 2019; Chen and Gu 2020 (RayS)"
    raised_if: ClassVar[str] = (
        f"an attack that sees labels alone breaks more than {limit('hard_label_gap'):.0%}, and more than one, of the "
        "samples that the suite left standing"
    )
    advice: ClassVar[str] = "Read the answers with other losses and without gradients."
    technique: ClassVar[str] = "AML.T0043.001"
    answers: ClassVar[tuple[str, ...]] = ("margin", "square", "decision")
    kind: ClassVar[str] = "labels alone"
    samples: ClassVar[int] = 16
    deep_samples: ClassVar[int] = 128

    def ask(self, evidence: Evidence, index: np.ndarray) -> list[Played] | str:
        lab, norm = evidence.lab, evidence.threat.norm
        if norm not in (Norm.LINF, Norm.L2):
            return f"No bundled attack on labels alone is for {norm}; a plugin may bring one."
        name = "rays" if norm is Norm.LINF else "hopskipjump"
        return [lab.play(lab.attack(name, steps=2000 if lab.deep else 300), index)]


@dataclass(frozen=True, kw_only=True)
class TransferGap(Opinion):
    """An example made on another model knows nothing of this one's weights. Where it succeeds and the model's own
    gradients did not lead there, they hide something.

    Follows the copy with its operators softened, where there is one, and each file given with `--surrogate`; with
    `--deep` a distillate and the ensemble too. Costs 20 gradients and a few queries on up to 64 samples each.
    """

    name: ClassVar[str] = "transfer_gap"
    title: ClassVar[str] = "Stand-ins lead to what attacks left standing"
    source: ClassVar[str] = "Carlini et al. 2019; Croce et al. 2022"
    raised_if: ClassVar[str] = (
        f"examples found on stand-ins for the model break more than {limit('transfer_gap'):.0%}, and more than one, of "
        "the samples that the suite left standing"
    )
    advice: ClassVar[str] = "Give more stand-ins (`--surrogate`), and attack the copy that led there."
    technique: ClassVar[str] = "AML.T0043.002"
    answers: ClassVar[tuple[str, ...]] = ("smooth", "transfer")
    kind: ClassVar[str] = "examples found on stand-ins"
    samples: ClassVar[int] = 64
    deep_samples: ClassVar[int] = 128

    def ask(self, evidence: Evidence, index: np.ndarray) -> list[Played] | str:
        lab = evidence.lab
        if evidence.threat.norm not in (Norm.LINF, Norm.L2):
            return f"No bundled attack from stand-ins is for {evidence.threat.norm}; a plugin may bring one."
        names = lab.stand_ins()
        if not names:
            return "There is no stand-in to transfer from: give one (`--surrogate FILE`), or `--deep` to train one."
        attack = lab.attack("mi", steps=20)
        return [lab.play(attack, index, source=name) for name in names]


@dataclass(frozen=True, kw_only=True)
class WeakSuite(Check):
    """The checks' experiments are short and meet few samples. Where they break what the suite left standing, the suite
    was too weak for this model, whatever the reason.

    Reads what the other checks' experiments broke. Costs nothing.
    """

    name: ClassVar[str] = "weak_suite"
    title: ClassVar[str] = "Short experiments break what the suite left standing"
    source: ClassVar[str] = "Carlini et al. 2019; the threshold is AutoAttack's for Square"
    severity: ClassVar[Severity] = Severity.WARNING
    raised_if: ClassVar[str] = (
        f"experiments of the checks break more than {limit('weak_suite'):.1%} of all samples, and more than one, that "
        "the suite had left standing"
    )
    advice: ClassVar[str] = "Use a stronger suite: `--suite standard` or `thorough`."
    technique: ClassVar[str] = "AML.T0043.000"
    answers: ClassVar[tuple[str, ...]] = ("margin", "square")
    again: ClassVar[bool] = True

    def look(self, evidence: Evidence) -> Finding:
        n = max(len(evidence.samples), 1)
        rows = [row for row in evidence.attacks if row.phase == "check"]
        broken = sum(row.broken for row in rows)
        names = f" ({', '.join(sorted({row.attack for row in rows}))})" if rows else ""
        return self.finding(
            FindingStatus.RAISED if broken > max(1, self.threshold * n) else FindingStatus.CLEAR,
            f"Experiments of the checks{names} broke {broken} of {n} samples that the suite had left standing.",
            value=broken / n,
            threshold=self.threshold,
        )


@hookimpl
def register_checks(register: Register) -> None:
    register(RandomGap)
    register(HardLabelGap)
    register(TransferGap)
    register(WeakSuite)
