"""Rotations and shifts of pictures. Engstrom, Tran, Tsipras, Schmidt, Madry, https://arxiv.org/abs/1712.02779"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows
from auditor.errors import PluginError, UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.problem import Problem
from auditor.spatial import ANGLES, SHIFTS, axes
from auditor.threat import Norm

ALL = ANGLES * SHIFTS**2 - 1
"""Transforms of the grid that change the picture."""


@dataclass(frozen=True, kw_only=True)
class SpatialRows(Rows):
    """x: the best candidate so far. loss: its cross-entropy. wrong: whether it reaches the goal."""

    loss: Tensor
    wrong: Tensor


@dataclass(frozen=True, kw_only=True)
class Spatial(Attack):
    """Turns and shifts each picture by every transform of the spatial threat, the smallest first, or by k at random.

    The whole grid is exhaustive: the threat is this finite set, so what withstands it all is robust within the threat,
    and that is no estimate. Gradients are of little use here, since the loss has many local maxima over angle and
    shift. Choose it for pictures that nobody holds quite straight. Costs one query of the target per transform: 774 for
    a picture that withstands the grid of 31 angles and 5 × 5 shifts, whose 775th is the picture itself. A row ends on
    the misclassified candidate of highest cross-entropy, on the one of highest cross-entropy where none is.

    k: transforms that each restart draws at random (the paper's worst-of-k has 10); 0 for all of them, where further
    restarts add nothing. steps: portions in which they are asked about, no more than there are transforms; small
    portions save queries where pictures fall, large ones time.
    """

    name: ClassVar[str] = "spatial"
    access: ClassVar[Access] = Access.SCORE
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.SPATIAL})

    steps: int = 155
    k: int = 0

    def __post_init__(self) -> None:
        if self.k < 0:
            raise UsageError(f"spatial: k is a number of transforms, 0 for all, got {self.k}.")
        object.__setattr__(self, "steps", min(self.steps, self.k or ALL))

    def cost(self, classes: int) -> tuple[int, int]:
        return (self.k or ALL) + 1, 0

    def start(self, problem: Problem) -> SpatialRows:
        nothing = torch.full_like(problem.epsilon, float("-inf"))
        return SpatialRows(x=problem.inputs, loss=nothing, wrong=torch.zeros_like(problem.labels, dtype=torch.bool))

    def query(self, problem: Problem, rows: SpatialRows) -> Query:
        moves = problem.transforms
        if moves is None:
            raise PluginError("spatial needs the transforms of the threat, and this problem has none.")
        others = len(moves) - 1  # number 0 is the picture itself
        count = self.k or others
        first, end = (((problem.ages + late) * count).div(self.steps, rounding_mode="floor") for late in (0, 1))
        place = first[:, None] + torch.arange(-(-count // self.steps) or 1, device=moves.device)
        asked = place < torch.maximum(end, first + 1)[:, None]  # where the threat has few, some are asked about twice
        if self.k:
            place = problem.draws.integers(max(others, 1), place.shape[1])
        owner = asked.nonzero()[:, 0]
        which = (1 + place[asked]).clamp_max(others)
        own = problem.take(owner)
        bounds = (bound.flatten(1)[:, 0] for bound in (own.lower, own.upper))
        fill = torch.zeros_like(own.epsilon).clamp(*bounds)
        return Query(points=own.project(transformed(own.inputs, moves[which], fill)), owner=owner, gradient=False)

    def step(self, problem: Problem, rows: SpatialRows, reply: Reply) -> SpatialRows:
        n, m, owner = len(problem), len(reply.owner), reply.owner
        own = problem.take(owner)
        wrong = own.margin(reply.need_scores()) < 0
        still = (reply.points == own.inputs).flatten(1).all(dim=1)
        loss = torch.where(still | reply.need_loss().isnan(), float("-inf"), reply.need_loss())
        hit = reply.sums(wrong.to(loss.dtype), n) > 0
        loss = torch.where(wrong | ~hit[owner], loss, float("-inf"))  # where some err, the others don't count
        top = torch.full_like(rows.loss, float("-inf")).scatter_reduce(0, owner, loss, "amax")
        number = torch.where(loss == top[owner], torch.arange(m, device=owner.device), m)
        pick = torch.full_like(problem.ages, m).scatter_reduce(0, owner, number, "amin")
        better = (hit & ~rows.wrong) | ((hit == rows.wrong) & (top > rows.loss))
        return SpatialRows(
            x=torch.where(problem.wide(better), reply.points[pick], rows.x),
            loss=torch.where(better, top, rows.loss),
            wrong=rows.wrong | hit,
        )


def transformed(pictures: Tensor, moves: Tensor, fill: Tensor) -> Tensor:
    """Pictures `[m, *shape]`, turned and shifted each by its own θ, u and v, float64 `[m, 3]`; see `auditor.spatial`.

    fill: what lies beyond each, `[m]`. The identity leaves the picture as it is, bit by bit.
    """
    channels, height, width, last = axes(pictures.shape[1:])
    planes = pictures.permute(0, 3, 1, 2) if last else pictures
    planes = planes.reshape(len(pictures), channels, height * width)
    angle, right, down = (values[:, None, None] for values in (torch.deg2rad(moves[:, 0]), *moves[:, 1:].unbind(1)))
    down = torch.arange(height, device=moves.device)[:, None] - (height - 1) / 2 - down
    right = torch.arange(width, device=moves.device) - (width - 1) / 2 - right
    row = angle.cos() * down + angle.sin() * right + (height - 1) / 2
    column = angle.cos() * right - angle.sin() * down + (width - 1) / 2
    made = torch.zeros_like(planes)
    for y in (row.floor(), row.floor() + 1):
        for x in (column.floor(), column.floor() + 1):
            weight = (1 - (row - y).abs()) * (1 - (column - x).abs())  # float64: float32 places are 1e-5 pixels off
            inside = ((y >= 0) & (y < height) & (x >= 0) & (x < width)).flatten(1)[:, None]
            place = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long().flatten(1)[:, None]
            values = torch.where(inside, planes.gather(2, place.expand_as(planes)), fill[:, None, None])
            made = made + weight.flatten(1)[:, None].to(made.dtype) * values
    made = made.reshape(len(pictures), channels, height, width)
    made = (made.permute(0, 2, 3, 1) if last else made).reshape(pictures.shape)
    return torch.where((moves == 0).all(dim=1).reshape(-1, *([1] * (pictures.ndim - 1))), pictures, made)


@hookimpl
def register_attacks(register: Register) -> None:
    register(Spatial)
