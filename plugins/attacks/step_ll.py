"""One step towards another class: step-l.l. and step-rnd. Kurakin, Goodfellow, Bengio,
https://arxiv.org/abs/1611.01236; R+step-l.l. is Tramèr et al., https://arxiv.org/abs/1705.07204"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auditor.attack import Query, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.losses import ce
from auditor.problem import Problem

from .rfgsm import RFGSM

AIMS = ("least", "random")


@dataclass(frozen=True, kw_only=True)
class AimedRows(Rows):
    """aim: the class that each row heads for."""

    aim: Tensor


@dataclass(frozen=True, kw_only=True)
class StepLL(RFGSM):
    """One step of size epsilon down the cross-entropy of another class, which the clean input decides.

    Its direction does not depend on the label, so that a model can't read the label off the change: choose it beside
    FGSM where label leaking is suspected. Costs one gradient and one forward, and one forward a sample for the clean
    scores (none with aim = random). Heads for the goal's target where there is one.

    aim: least, the class of the least clean score (step-l.l.), or random, any class but the label, drawn anew for each
    restart (step-rnd.). alpha: share of epsilon spent on a random step first; 1/2 is R+step-l.l.
    """

    name: ClassVar[str] = "step-ll"

    alpha: float = 0.0
    aim: str = "least"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.aim not in AIMS:
            raise UsageError(f"step-ll: aim is one of {', '.join(AIMS)}, got {self.aim!r}.")

    def survey(self, problem: Problem) -> Query | None:
        return Query(points=problem.inputs, gradient=False) if self.aim == "least" else None

    def learn(self, problem: Problem, reply: Reply) -> Tensor:
        return least_likely(problem, reply.need_scores())

    def survey_cost(self, classes: int) -> tuple[int, int]:
        return (1, 0) if self.aim == "least" else (0, 0)

    def start(self, problem: Problem) -> AimedRows:
        x, aim = self._leap(problem), problem.notes
        if aim is None:
            aim = problem.draws.integers(problem.classes - 1)
            aim = aimed(problem, aim + (aim >= problem.labels))
        return AimedRows(x=x, aim=aim)

    def objective(self, scores: Tensor, problem: Problem, rows: AimedRows) -> Tensor:
        surveys = self.aim == "least" and problem.notes is None  # there are no rows yet, and the loss is not read
        return ce(scores, problem.labels, problem.targets if surveys else rows.aim)


def least_likely(problem: Problem, scores: Tensor) -> Tensor:
    """The class of the least clean score that is not the label, or the goal's target, `[batch]`."""
    return aimed(problem, scores.scatter(1, problem.labels[:, None], float("inf")).argmin(dim=1))


def aimed(problem: Problem, classes: Tensor) -> Tensor:
    """The goal's target where there is one, else these classes, `[batch]`."""
    return torch.where(problem.targets >= 0, problem.targets, classes)


@hookimpl
def register_attacks(register: Register) -> None:
    register(StepLL)
