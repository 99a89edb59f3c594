"""Output-diversified initialisation, then PGD on the margin. Tashiro, Song and Ermon, https://arxiv.org/abs/2003.06878

The step sizes and the biased directions are those of A3, https://arxiv.org/abs/2203.05154 (Liu et al.).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log10, pi
from typing import Any, ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.aims import ranking
from auditor.attack import Attack, Query, Reply, Rows
from auditor.errors import PluginError, UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm

BIASES = ("none", "a3")
JITTER = 0.1
"""How far from the best point a row begins, as a share of a random way within the ball."""


@dataclass(frozen=True, kw_only=True)
class ODIRows(Rows):
    """direction: the combination of scores that the first steps climb, `[batch, classes]`."""

    direction: Tensor


@dataclass(frozen=True, kw_only=True)
class ODI(Attack):
    """Go where a random combination of the scores is large, then climb the margin in steps that shrink on a cosine.

    Random starts in input space all lead to much the same place; random directions in output space do not, so many
    short restarts reach what one long climb misses. Choose it, with restarts, as the main attack on honest robust
    models. Costs `steps` gradients and one forward per restart (and one forward a sample with `bias` or `warm` set).

    steps: of both phases together. directions: those that climb `w · scores`, w uniform on [-1, 1] anew for each
    restart (2 in the paper, 7 in A3). rel_step: their size, as a share of epsilon. first, last: that of the steps that
    follow, at their beginning and towards their end (A3: from 1 to 0.1 where they are 10 at most, else to 0.001).
    loss: what those climb: margin, dlr or ce.

    bias: "a3" sets two of w's entries, the label's and that of another class, which is the next with each restart in
    the order of the clean scores. A3 learns their signs from what has broken others; here the restarts take turns
    between away from the label and towards the other class, and the reverse. warm: begin near the best point that
    earlier stages found instead of anywhere in the ball.
    """

    name: ClassVar[str] = "odi"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})
    losses: ClassVar[tuple[str, ...]] = ("margin", "dlr", "ce")

    steps: int = 20
    directions: int = 2
    rel_step: float = 1.0
    first: float = 1.0
    last: float = 0.001
    loss: str = "margin"
    bias: str = "none"
    warm: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.directions < self.steps:
            raise UsageError(f"odi: directions is at least 0 and less than steps, got {self.directions}.")
        for name in ("rel_step", "first", "last"):
            if not 0 < getattr(self, name) <= 10:
                raise UsageError(
                    f"odi: {name} is a share of epsilon above 0 and at most 10, got {getattr(self, name)}."
                )
        if self.bias not in BIASES:
            raise UsageError(f"odi: bias is one of {', '.join(BIASES)}, got {self.bias!r}.")

    def survey(self, problem: Problem) -> Query | None:
        return Query(points=problem.inputs, gradient=False) if self._surveys else None

    def learn(self, problem: Problem, reply: Reply) -> Tensor:
        # the best point as it is now: rows that begin later would find those of the rows beside them
        return torch.cat([reply.need_scores(), problem.best.flatten(1)], dim=1)

    def survey_cost(self, classes: int) -> tuple[int, int]:
        return (1, 0) if self._surveys else (0, 0)

    def start(self, problem: Problem) -> ODIRows:
        x = problem.random_point()
        if self.warm:
            best = self._notes(problem)[:, problem.classes :].reshape(problem.inputs.shape)
            x = problem.project(best + JITTER * (x - problem.inputs))
        w = 2 * problem.draws.uniform(problem.classes, dtype=problem.inputs.dtype) - 1
        return ODIRows(x=x, direction=self._biased(w, problem) if self.bias == "a3" else w)

    def objective(self, scores: Tensor, problem: Problem, rows: Any) -> Tensor:
        climb = problem.loss(self.loss, scores)
        direction = getattr(rows, "direction", None)
        if direction is None:  # the survey's rows have none
            return climb
        return torch.where(problem.ages < self.directions, (direction * scores).sum(dim=1), climb)

    def step(self, problem: Problem, rows: ODIRows, reply: Reply) -> ODIRows:
        length = problem.wide(self.share(problem.ages).to(problem.epsilon) * problem.epsilon)
        moved = problem.project(rows.x + length * problem.steepest(reply.need_gradient()))
        return ODIRows(x=moved, direction=rows.direction)

    def share(self, ages: Tensor) -> Tensor:
        """Size of the step at each age, as a share of epsilon."""
        turn = pi * (ages - self.directions) / (self.steps - self.directions + 1)
        shrinking = self.last + (self.first - self.last) * (1 + turn.cos()) / 2
        return torch.where(ages < self.directions, self.rel_step, shrinking)

    @property
    def _surveys(self) -> bool:
        return self.warm or self.bias != "none"

    def _notes(self, problem: Problem) -> Tensor:
        if problem.notes is None:
            raise PluginError("odi begins without the survey that bias and warm need.")
        return problem.notes

    def _biased(self, w: Tensor, problem: Problem) -> Tensor:
        """The directions with the entries of the label and of another class (the target, where there is one) set."""
        label, cycle = problem.labels[:, None], ranks(problem.classes)
        rank = problem.restarts % cycle
        other = ranking(problem, self._notes(problem)[:, : problem.classes]).gather(1, rank[:, None])
        aim = torch.where(problem.targets >= 0, problem.targets, other[:, 0])[:, None]
        away = ((rank + problem.restarts // cycle) % 2 == 0)[:, None]
        own = 0.6 * problem.draws.uniform(1, dtype=w.dtype) - 0.1
        scale = problem.classes / 10
        w = w.scatter(1, label, scale * torch.where(away, -own, own))
        return w.scatter(1, aim, scale * torch.where(away, 0.8, -0.8).to(w))


def ranks(classes: int) -> int:
    """How many other classes take turns: all of up to 10 classes, 14 of 100, 20 of 1000."""
    return classes - 1 if classes <= 10 else int(9 + 5.5 * log10(classes / 10))


@hookimpl
def register_attacks(register: Register) -> None:
    register(ODI)
