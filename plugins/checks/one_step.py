"""What one step does, held against what it should not do better than many, and against one from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from auditor.check import Check, Evidence
from auditor.hookspecs import Register, hookimpl
from auditor.lab import Played
from auditor.limits import limit
from auditor.metrics import wilson
from auditor.record import Finding, FindingStatus, Severity
from auditor.threat import Norm

PROBED = 64
NORMS = (Norm.LINF, Norm.L2)


@dataclass(frozen=True, kw_only=True)
class Pair(Check):
    """Two attacks on the same samples, and how often each succeeds."""

    severity: ClassVar[Severity] = Severity.WARNING

    def played(self, evidence: Evidence, *attacks: tuple[str, dict[str, object]]) -> list[Played] | Finding:
        """What each attack did to the same samples; an inconclusive finding where one can't be played."""
        lab = evidence.lab
        if evidence.threat.norm not in NORMS or evidence.threat.boxes:
            why = "One-step attacks are for linf and l2 with an epsilon."
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        index = lab.some(PROBED)
        played = [lab.play(lab.attack(name, **options), index) for name, options in attacks]
        failed = next((part.why_not for part in played if part.why_not), None)
        if failed or not len(index):
            why = failed or "no sample is classified correctly"
            return self.finding(FindingStatus.INCONCLUSIVE, f"It can't be told: {why}.", threshold=self.threshold)
        return played


@dataclass(frozen=True, kw_only=True)
class OneStep(Pair):
    """Many small steps go everywhere that one large step goes, and further. Where the one step breaks samples that the
    many do not, the gradient along the way leads astray.

    FGSM against 20 steps of BIM on up to 64 samples: 22 forwards and 21 backwards each.
    """

    name: ClassVar[str] = "one_step"
    title: ClassVar[str] = "One step beats many"
    source: ClassVar[str] = "Athalye et al. 2018; Carlini et al. 2019"
    raised_if: ClassVar[str] = (
        f"FGSM breaks samples that 20 steps of BIM leave standing, more than {limit('one_step'):.0%} of those tried, "
        "with 95 % confidence"
    )
    advice: ClassVar[str] = "Read the answers: random starts, other losses, and attacks without gradients."
    technique: ClassVar[str] = "AML.T0043.000"
    masks: ClassVar[bool] = True
    answers: ClassVar[tuple[str, ...]] = ("margin", "square")

    def look(self, evidence: Evidence) -> Finding:
        played = self.played(evidence, ("fgsm", {}), ("bim", {"steps": 20}))
        if isinstance(played, Finding):
            return played
        one, many = (part.broken for part in played)
        only, n = int((one & ~many).sum()), len(one)
        least = (wilson(only, n) or (0.0, 1.0))[0]
        return self.finding(
            FindingStatus.RAISED if least > self.threshold else FindingStatus.CLEAR,
            f"Of {n} samples one step breaks {int(one.sum())} and 20 steps {int(many.sum())}; {only} fall to the one "
            "step alone.",
            value=only / n,
            threshold=self.threshold,
        )


@dataclass(frozen=True, kw_only=True)
class RandomStep(Pair):
    """Training against one-step attacks can bend the loss right at the data, so that the gradient there leads nowhere.
    A random step first leaves the bend behind: where it makes one-step attacks much stronger, the robustness against
    them was never there.

    R+FGSM, half of epsilon at random and half by gradient, against FGSM with all of it. On a linear loss it is weaker;
    undefended ImageNet nets gain up to 10 points by it, one-step-trained ones 16 and 38. Costs 4 forwards and 2
    backwards on up to 64 samples.
    """

    name: ClassVar[str] = "random_step"
    title: ClassVar[str] = "A random step first makes one step much stronger"
    source: ClassVar[str] = "Tramèr et al. 2018 (https://arxiv.org/abs/1705.07204)"
    raised_if: ClassVar[str] = (
        f"R+FGSM breaks more than FGSM, by over {limit('random_step'):.0%} of the samples with 95 % confidence"
    )
    advice: ClassVar[str] = "Believe no robustness against one-step attacks of this model; look at its training."
    technique: ClassVar[str] = "AML.T0043.000"
    masks: ClassVar[bool] = True
    answers: ClassVar[tuple[str, ...]] = ("margin",)

    def look(self, evidence: Evidence) -> Finding:
        played = self.played(evidence, ("fgsm", {}), ("rfgsm", {}))
        if isinstance(played, Finding):
            return played
        plain, random = (part.broken for part in played)
        won, lost, n = int((random & ~plain).sum()), int((plain & ~random).sum()), len(plain)
        gap = (won - lost) / n
        spread = 1.96 * ((won + lost) / n - gap**2) ** 0.5 / n**0.5  # paired: the samples that differ
        return self.finding(
            FindingStatus.RAISED if gap - spread > self.threshold else FindingStatus.CLEAR,
            f"Of {n} samples FGSM breaks {int(plain.sum())}, R+FGSM {int(random.sum())}: {gap:+.1%} ± {spread:.1%}.",
            value=gap,
            threshold=self.threshold,
        )


@hookimpl
def register_checks(register: Register) -> None:
    register(OneStep)
    register(RandomStep)
