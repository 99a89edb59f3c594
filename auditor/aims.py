"""Which class each restart goes for: the first for any, those that follow for one in particular, the likeliest first.

For attacks that draw nothing, whose restarts would all be the same otherwise, and which stop at the class that comes
first where another is nearer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.attack import Attack, Query, Reply
from auditor.problem import Problem


@dataclass(frozen=True, kw_only=True)
class AimingAttack(Attack):
    """An attack whose survey ranks the wrong classes of each sample once, for one forward: `problem.notes`."""

    def survey(self, problem: Problem) -> Query:
        return Query(points=problem.inputs, gradient=False)

    def learn(self, problem: Problem, reply: Reply) -> Tensor:
        return ranking(problem, reply.need_scores())

    def survey_cost(self, classes: int) -> tuple[int, int]:
        return 1, 0


def ranking(problem: Problem, scores: Tensor) -> Tensor:
    """The wrong classes of each sample by its clean scores `[batch, classes]`, best first: `[batch, classes - 1]`.

    What an attack's `learn` returns for its restarts to have aims.
    """
    wrong = scores.scatter(1, problem.labels[:, None], float("-inf"))
    return wrong.argsort(dim=1, descending=True, stable=True)[:, :-1]


def aims(problem: Problem) -> Tensor:
    """The class that each row goes for, `[batch]`, or -1 for any; a targeted goal leaves no choice.

    problem: its notes are the ranking. After the last class comes the first again.
    """
    if problem.notes is None:
        return problem.targets
    turn = (problem.restarts - 1) % problem.notes.shape[1]
    own = torch.where(problem.restarts > 0, problem.notes.gather(1, turn[:, None])[:, 0], -1)
    return torch.where(problem.targets >= 0, problem.targets, own)
