"""Does the attack find what is certainly there? Zimmermann et al. 2022, https://arxiv.org/abs/2206.13991"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from auditor.check import Check, Evidence
from auditor.errors import ModelError
from auditor.hookspecs import Register, hookimpl
from auditor.limits import limit
from auditor.metrics import wilson
from auditor.planted import Planted, cut, separated
from auditor.readings import hindrance
from auditor.record import Finding, FindingStatus, Severity
from auditor.suite import Stage
from auditor.twin import Twin

PROBED = 32
INNER, DRAWS = 999, 200
WITHIN = 0.95
"""Radius of the inner points, over epsilon."""
KNOWN = ("apgd", "pgd")
"""Attacks whose fields, as a row of the record has them, make the same attack again."""


@dataclass(frozen=True, kw_only=True)
class Binarisation(Check):
    """Whether an attack fails because there is nothing to find can't be told from its failure. Put something there that
    is certainly to be found, and see whether it is found.

    The twin is cut at its last linear layer, and for each of 32 samples a new readout with two classes is fitted that
    tells 999 points well inside the threat, and the sample, from one on its edge, which is then an adversarial example
    by construction. The attack of the suite is played on that. One that works succeeds nearly always; random points,
    tried beside it, must not. Costs some 1200 forwards and the attack on each sample.
    """

    name: ClassVar[str] = "binarisation"
    title: ClassVar[str] = "The attack misses what is there"
    source: ClassVar[str] = "Zimmermann et al. 2022 (https://arxiv.org/abs/2206.13991): pass from 0.95 on"
    severity: ClassVar[Severity] = Severity.CRITICAL
    raised_if: ClassVar[str] = (
        f"The attack finds the planted adversarial example on less than {limit('binarisation'):.0%} of the samples, "
        f"with 95% confidence, and random points find it on less than {limit('binarisation.random'):.0%}."
    )
    advice: ClassVar[str] = (
        "Adapt the attack to the model until it finds what was planted: more steps, another loss, gradients that get "
        "past what stands in the way."
    )
    technique: ClassVar[str] = "AML.T0043.000"
    masks: ClassVar[bool] = True
    answers: ClassVar[tuple[str, ...]] = ("smooth", "square", "transfer")
    deep: ClassVar[bool] = True

    def look(self, evidence: Evidence) -> Finding:
        lab = evidence.lab
        index = lab.some(PROBED)
        why = hindrance(evidence, index)
        found: list[bool] = []
        lucky: list[bool] = []
        if why is None and evidence.twin is not None:
            stage = self._stage(evidence)
            try:
                body = cut(evidence.twin)
                for sample in index.tolist():
                    planted = self._plant(evidence, body, sample)
                    if planted is not None:
                        lucky.append(planted.fooled(self._random(evidence, sample, INNER + 1, DRAWS)))
                        result = planted.play(stage)
                        lab.spent += result.spent.sum(axis=0)
                        lab.spent[0] += DRAWS
                        found.append(bool(result.broken.all()))
            except ModelError as error:
                why = f"The test could not be made: {error}"
        n = len(found)
        if why is None and n < limit("binarisation.least"):
            why = f"A readout could be fitted without a mistake on {n} of {len(index)} samples alone."
        if why is not None:
            return self.finding(FindingStatus.INCONCLUSIVE, why, threshold=self.threshold)
        most = (wilson(sum(found), n) or (0.0, 1.0))[1]
        raised = most < self.threshold and np.mean(lucky) < limit("binarisation.random")
        return self.finding(
            FindingStatus.RAISED if raised else FindingStatus.CLEAR,
            f"{stage.attack.name} finds the planted adversarial example on {sum(found)} of {n} samples, {DRAWS} random "
            f"points each find it on {sum(lucky)}." + (" It may miss others just so." if raised else ""),
            value=sum(found) / n,
            threshold=self.threshold,
        )

    def _stage(self, evidence: Evidence) -> Stage:
        """The first white-box attack of the suite as it was played; APGD on the margin where it was another."""
        for row in evidence.attacks:
            if row.climbed and row.attack in KNOWN:
                attack = evidence.lab.attack(row.attack, **row.parameters)
                return Stage(attack=attack, restarts=row.restarts, title=row.attack)
        return Stage(attack=evidence.lab.attack("apgd", loss="margin", steps=50), title="apgd")

    def _plant(self, evidence: Evidence, body: Twin, sample: int) -> Planted | None:
        """The sample with an adversarial example planted on the edge of its threat; None where no linear readout tells
        that from what is inside. Raises ModelError where the features can't be had."""
        lab = evidence.lab
        clean = torch.from_numpy(evidence.samples.inputs[[sample]])
        inner = clean + WITHIN * (self._random(evidence, sample, 0, INNER) - clean)
        edge = lab.problem(np.array([sample]), self.name, INNER).random_corner().cpu().float()
        points = torch.cat([clean, inner, edge]).to(lab.search.execution.device)
        body.module.to(points)
        with torch.no_grad():
            features = torch.cat([body.logits(part) for part in torch.split(points, lab.search.execution.width)])
        lab.spent[0] += len(points)
        head = separated(features)
        return None if head is None else Planted.under(lab.search, body, head, sample)

    def _random(self, evidence: Evidence, sample: int, first: int, count: int) -> Tensor:
        """Random points of a sample's threat, `[count, *shape]`."""
        rows = np.full(count, sample)
        problem = evidence.lab.problem(rows, self.name, np.arange(first, first + count))
        return problem.random_point().cpu().float()


@hookimpl
def register_checks(register: Register) -> None:
    register(Binarisation)
