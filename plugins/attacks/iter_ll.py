"""Iterated steps towards the least likely class: iter-l.l. Kurakin, Goodfellow, Bengio,
https://arxiv.org/abs/1607.02533"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from auditor.attack import Query, Reply, Rows
from auditor.hookspecs import Register, hookimpl
from auditor.losses import ce
from auditor.problem import Problem

from .bim import BIM
from .step_ll import least_likely


@dataclass(frozen=True, kw_only=True)
class IterLL(BIM):
    """Small steps down the cross-entropy of the class of the least clean score, chosen once and kept.

    A sample breaks on the way there as soon as any class but its own wins. With many classes it needs a larger epsilon
    than `bim`: choose it to see how far a model can be led, not how near it breaks. Deterministic. Costs `steps`
    gradients and one forward, and one forward a sample for the clean scores. Heads for the goal's target where there is
    one. Options as in `bim`.
    """

    name: ClassVar[str] = "iter-ll"

    def survey(self, problem: Problem) -> Query:
        return Query(points=problem.inputs, gradient=False)

    def learn(self, problem: Problem, reply: Reply) -> Tensor:
        return least_likely(problem, reply.need_scores())

    def survey_cost(self, classes: int) -> tuple[int, int]:
        return 1, 0

    def objective(self, scores: Tensor, problem: Problem, rows: Rows) -> Tensor:
        aim = problem.targets if problem.notes is None else problem.notes  # None in the survey, whose loss is not read
        return ce(scores, problem.labels, aim)


@hookimpl
def register_attacks(register: Register) -> None:
    register(IterLL)
