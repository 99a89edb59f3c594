"""Jacobian-based saliency map attack. Papernot et al., https://arxiv.org/abs/1511.07528"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from auditor.access import Access
from auditor.aims import AimingAttack
from auditor.attack import Query, Reply, Rows
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.threat import Norm

ENTRIES = 1 << 22
"""Pairs whose scores are held in memory at once."""


@dataclass(frozen=True, kw_only=True)
class JSMA(AimingAttack):
    """Push two features at a time to their bound: the pair that raises the target's score most and lowers the others'.

    Greedy and interpretable, with no step size to tune: choose it for l0 threats, and for which features a model hangs
    on. Weaker than an optimiser such as sigma-zero where many features have to work together. Costs a forward and two
    backwards per step; pairs are compared in every step, exactly, at the cost of a sort. Each restart heads for
    another class, from the likeliest on, unless the goal names one. A row ends where no pair helps any more, or
    another pair would change more than epsilon features; saturated features leave the search.

    steps: pairs at most; 56 are 14.5 % of the features of MNIST, as published. theta: by how much a feature changes,
    as a share of the width of its bounds, negative to lower features (without bounds in units of the weights).
    both: take the better of raising a pair and lowering one; a feature that has moved is not turned round.
    """

    name: ClassVar[str] = "jsma"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L0})
    minimum_norm: ClassVar[bool] = True

    steps: int = 56
    theta: float = 1.0
    both: bool = False

    def __post_init__(self) -> None:
        if not 0 < abs(self.theta) <= 1:
            raise UsageError(f"jsma: theta is between -1 and 1 and not 0, got {self.theta}.")

    def cost(self, classes: int) -> tuple[int, int]:
        return self.steps + 1, 2 * self.steps

    def start(self, problem: Problem) -> Rows:
        return Rows(x=problem.inputs)

    def query(self, problem: Problem, rows: Rows) -> Query:
        # a sum of derivatives is the derivative of the sum: two gradients stand for the whole Jacobian
        target = one_hot(targets(problem), problem.classes)
        both = torch.stack([target, 1 - target], dim=1).to(rows.x.dtype)
        return Query(points=rows.x, cotangents=both)

    def step(self, problem: Problem, rows: Rows, reply: Reply) -> Rows:
        towards, against = (_unit(slope) for slope in reply.need_gradients().flatten(2).unbind(1))
        pair, move, score = self._best(problem, rows.x, towards, against)
        change = torch.zeros_like(towards).scatter(1, pair, 1.0) * move[:, None]
        x = (rows.x + change.reshape(rows.x.shape) * self._width(problem)).clamp(problem.lower, problem.upper)
        done = score.isneginf() | (problem.size(x) > problem.epsilon)
        # without an epsilon nobody takes a solved row away, and it would only go on to change more
        done |= problem.epsilon.isinf() & (problem.margin(reply.need_scores()) < 0)
        return Rows(x=torch.where(problem.wide(done), rows.x, x), over=done)

    def _best(self, problem: Problem, x: Tensor, towards: Tensor, against: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The pair to change, the change as a share of the width, and its score, -inf where no pair qualifies."""
        change = x - problem.inputs
        movable = problem.upper > problem.lower
        sign = 1 if self.theta > 0 else -1
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for way in (sign, -sign) if self.both else (sign,):
            room = problem.upper - x if way > 0 else x - problem.lower
            free = (movable & (room > 0) & (way * change >= 0)).flatten(1)
            pair, score = best_pair(way * towards, -way * against, free)
            found.append((pair, torch.full_like(score, way * abs(self.theta)), score))
        if len(found) == 1:
            return found[0]
        (pair, move, score), (other, moved, against_score) = found
        better = against_score > score
        return (
            torch.where(better[:, None], other, pair),
            torch.where(better, moved, move),
            torch.where(better, against_score, score),
        )

    def _width(self, problem: Problem) -> Tensor:
        width = problem.upper - problem.lower
        unit = torch.ones_like(width) if problem.weights is None else problem.weights
        return torch.where(width.isfinite(), width, unit)


def targets(problem: Problem) -> Tensor:
    """The class that each row heads for, `[batch]`: the goal's, or the restart's place in the survey's ranking."""
    if problem.notes is None:
        return problem.targets
    place = problem.restarts % problem.notes.shape[1]
    return torch.where(problem.targets >= 0, problem.targets, problem.notes.gather(1, place[:, None]).squeeze(1))


def best_pair(gain: Tensor, loss: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """The two free features p, q of largest (gain_p + gain_q) (loss_p + loss_q), both factors above 0.

    gain, loss, free: `[batch, d]`. Returns int64 `[batch, 2]` and the product `[batch]`, -inf where no pair qualifies.
    A feature that two others match in both gain and loss may be replaced by one of them, at no loss. So only the
    others are compared: a few dozen of thousands, as a rule.
    """
    free = free & gain.isfinite() & loss.isfinite()
    gain, order = torch.where(free, gain, float("-inf")).sort(dim=1, descending=True, stable=True)
    loss = torch.where(free, loss, float("-inf")).gather(1, order)
    kept = loss > _second_largest_before(loss)
    most = max(int(kept.sum(dim=1).max()), 2)
    kept, place = kept.to(torch.int8).sort(dim=1, descending=True, stable=True)
    kept, place = kept[:, :most].bool(), place[:, :most]
    gain = torch.where(kept, gain.gather(1, place), float("-inf"))
    loss = torch.where(kept, loss.gather(1, place), float("-inf"))

    first, second, best = _argmax_of_pairs(gain, loss)
    pair = torch.stack([first, second], dim=1)
    return order.gather(1, place.gather(1, pair)), best


def _argmax_of_pairs(gain: Tensor, loss: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The first pair of largest product, by brute force in slices that fit into memory."""
    batch, size = gain.shape
    best = torch.full_like(gain[:, 0], float("-inf"))
    first, second = torch.zeros(2, batch, dtype=torch.int64, device=gain.device)
    height = max(ENTRIES // max(batch * size, 1), 1)
    columns = torch.arange(size, device=gain.device)
    for rows in torch.split(columns, height):
        up = gain[:, rows, None] + gain[:, None]
        down = loss[:, rows, None] + loss[:, None]
        helps = (up > 0) & (down > 0) & (rows[:, None] < columns)
        value, index = torch.where(helps, up * down, float("-inf")).flatten(1).max(dim=1)
        better = value > best
        best = torch.where(better, value, best)
        first = torch.where(better, rows[0] + index // size, first)
        second = torch.where(better, index % size, second)
    return first, second, best


def _second_largest_before(values: Tensor) -> Tensor:
    """The second largest of those before each, `[batch, d]`; -inf where there are fewer than two."""
    nothing = torch.full_like(values[:, :1], float("-inf"))
    largest = torch.cat([nothing, values.cummax(dim=1).values[:, :-1]], dim=1)
    second = torch.minimum(values, largest).cummax(dim=1).values
    return torch.cat([nothing, second[:, :-1]], dim=1)


def _unit(slope: Tensor) -> Tensor:
    """Slopes over the largest of each row, so that products neither vanish nor overflow."""
    largest = slope.abs().nan_to_num(nan=0.0, posinf=0.0).amax(dim=1, keepdim=True)
    return slope / torch.where(largest > 0, largest, 1)


@hookimpl
def register_attacks(register: Register) -> None:
    register(JSMA)
