"""RayS, ray searching. Chen and Gu, https://arxiv.org/abs/2006.12792"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, Rows
from auditor.errors import UsageError
from auditor.halving import allowed, middle, proposed, reached
from auditor.hookspecs import Register, hookimpl
from auditor.hyperplane import outer_box, scale_of
from auditor.problem import Problem
from auditor.threat import Norm

PRECISE = 1e-3
"""Share of a radius that a halving may be off by."""


@dataclass(frozen=True, kw_only=True)
class RayRows(Rows):
    """signs: the best direction, -1 or 1 for each feature. radius: the smallest at which it was adversarial, infinite
    until then. low, high: the bracket while that of another direction is looked for, high infinite while none is.
    level, block: which signs that one has flipped; level -1 flips none."""

    signs: Tensor
    radius: Tensor
    low: Tensor
    high: Tensor
    level: Tensor
    block: Tensor


@dataclass(frozen=True, kw_only=True)
class RayS(Attack):
    """Look for the corner direction in which the boundary is nearest: flip signs, block by block, and keep what helps.

    Blocks are halves, quarters and so on down to single features, then all over again. A flip costs one query, at the
    radius so far; only where that is adversarial the new radius is halved for, in ten. No step size, nothing to tune:
    choose it in linf for models that return nothing but labels, and as a witness against masked gradients, for it uses
    none. Honest robust models hold out longer against it than against gradients: it is a detector, no headline. It is a
    minimum-norm attack, done with an epsilon as soon as a point within is adversarial. Costs `steps` queries and one at
    the end. The first restart begins with all signs up, as in the paper, further ones with random signs.

    steps: queries of a row. As many as there are features pass over each of them once; the paper's most are 40 000.
    """

    name: ClassVar[str] = "rays"
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF})
    minimum_norm: ClassVar[bool] = True

    steps: int = 2000

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"rays: steps is at least 1, got {self.steps}.")

    def cost(self, classes: int) -> tuple[int, int]:
        return self.steps + 1, 0

    def start(self, problem: Problem) -> RayRows:
        none, infinite = torch.zeros_like(problem.ages), torch.full_like(problem.epsilon, float("inf"))
        random = problem.draws.signs(*problem.inputs.shape[1:], dtype=problem.inputs.dtype)
        return RayRows(
            x=problem.project(problem.inputs),
            signs=torch.where(problem.wide(problem.restarts) > 0, random, 1),
            radius=infinite,
            low=torch.zeros_like(infinite),
            high=infinite,
            level=none - 1,
            block=none,
        )

    def query(self, problem: Problem, rows: RayRows) -> Query:
        points = _along(problem, flipped(rows), self._asked(problem, rows))
        points, probes = proposed(problem, points)
        return Query(points=points, probes=probes, gradient=False)

    def step(self, problem: Problem, rows: RayRows, reply: Reply) -> RayRows:
        hit, asked = reached(problem, reply), self._asked(problem, rows)
        high, low = torch.where(hit, asked, rows.high), torch.where(hit, rows.low, asked)
        low = torch.where(rows.high.isinf(), 0, low)  # the first answer of a flip only says whether to go on
        settled = high.isfinite() & (high - low <= PRECISE * high)
        given_up = high.isinf()
        radius = torch.where(settled, torch.minimum(high, rows.radius), rows.radius)
        signs = torch.where(problem.wide(settled), flipped(rows), rows.signs)
        level, block = following(rows.level, rows.block, signs[0].numel())
        ended = settled | given_up
        moved = replace(
            rows,
            signs=signs,
            radius=radius,
            low=torch.where(ended, 0, low),
            high=torch.where(ended, float("inf"), high),
            level=torch.where(ended, level, rows.level),
            block=torch.where(ended, block, rows.block),
        )
        if bool((problem.ages >= self.steps - 1).any()):
            within = torch.minimum(radius, allowed(problem))
            x = _along(problem, signs, torch.where(within.isfinite(), within, 0))
            moved = replace(moved, x=problem.project(x))
        return moved

    def _asked(self, problem: Problem, rows: RayRows) -> Tensor:
        """The radius to ask about, `[batch]`: the best one for a new flip, the bracket's middle while one is halved."""
        known = rows.radius.isfinite()
        first = rows.radius if bool(known.all()) else torch.where(known, rows.radius, _outermost(problem))
        return torch.where(rows.high.isfinite(), middle(problem, rows.low, rows.high), first)


def flipped(rows: RayRows) -> Tensor:
    """The signs of the direction under way: the best ones, where one block is flipped."""
    flat = rows.signs.flatten(1)
    size = _side(rows.level, flat.shape[1])[:, None]
    first = rows.block[:, None] * size
    place = torch.arange(flat.shape[1], device=flat.device)
    inside = (place >= first) & (place < first + size) & (rows.level[:, None] >= 0)
    return torch.where(inside, -flat, flat).reshape(rows.signs.shape)


def following(level: Tensor, block: Tensor, features: int) -> tuple[Tensor, Tensor]:
    """The next block: of the same level, the first of the next one, or after single features the first of all."""
    size = _side(level, features)
    last = (level < 0) | ((block + 1) * size >= features)
    onwards = torch.where((level >= 0) & (size == 1), 0, level + 1)
    return torch.where(last, onwards, level), torch.where(last, 0, block + 1)


def _side(level: Tensor, features: int) -> Tensor:
    """How many features a block of each level has, the last one of a level maybe fewer."""
    return -(features // -(2 ** level.clamp(0, 62)))


def _along(problem: Problem, signs: Tensor, radius: Tensor) -> Tensor:
    return problem.inputs + problem.wide(radius) * scale_of(problem) * signs


def _outermost(problem: Problem) -> Tensor:
    """The radius of a direction of which nothing is known: all that inputs may change; without bounds 2, 4, 8 …"""
    low, high = outer_box(problem)
    scale = scale_of(problem)
    room = torch.where(scale > 0, torch.maximum(high - problem.inputs, problem.inputs - low) / scale, 0)
    widest = room.flatten(1).amax(dim=1)
    return torch.where(widest.isfinite(), widest, 2.0 ** (1 + problem.ages.clamp_max(60)).to(widest.dtype))


@hookimpl
def register_attacks(register: Register) -> None:
    register(RayS)
