"""The l2 attack of Carlini and Wagner, https://arxiv.org/abs/1608.04644"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.aims import AimingAttack, aims
from auditor.attack import Query, Reply, Rows, choose
from auditor.errors import UsageError
from auditor.hookspecs import Register, hookimpl
from auditor.losses import margin
from auditor.optimise import moments, unit, width
from auditor.problem import Problem
from auditor.threat import Norm

MOST = 1e10
"""Upper limit of c while none has sufficed."""
CHECKS, STALLED = 10, 0.9999
"""How often a search looks whether its loss still falls, and below which share of the last time it does."""


@dataclass(frozen=True, kw_only=True)
class CWRows(Rows):
    """variable: what is optimised, the point through tanh. mean, square: Adam's moments. turns: of the search under
    way. c, low, high: weight of the goal against the size, and what its search is limited to. reached: whether this
    search has come to the goal. checked: loss at the last look. best, best_size: the nearest adversarial point."""

    variable: Tensor
    mean: Tensor
    square: Tensor
    turns: Tensor
    c: Tensor
    low: Tensor
    high: Tensor
    reached: Tensor
    checked: Tensor
    best: Tensor
    best_size: Tensor


@dataclass(frozen=True, kw_only=True)
class CW(AimingAttack):
    """Minimise size² + c · margin with Adam, through a change of variable that keeps to the bounds; search for c.

    The classic minimum-norm attack and still accurate, but slow: choose it to compare with published figures, and FMN
    or FAB where time counts. Costs `steps` gradients and one forward per restart. The published setting is
    `steps=9000,search=1000,initial=1e-3,rate=0.01,inset=1e-6`; by default everything is quicker, at nearly the same
    distances. The first restart starts its searches from the clean input, others from random points as far from it as
    the nearest adversarial example so far.

    steps: of all searches together. search: steps of one search at most. initial: c of the first search; it grows
    tenfold until it suffices, and is halved in between from then on. rate: of Adam. kappa: by how much the margin has
    to be exceeded. early: end a search whose loss falls no longer; what that saves goes into further searches. inset:
    how far within its bounds the variable starts, as a share of the way: at the ends of tanh it hardly moves.

    Sizes are taken as shares of the box's width, so that c and rate mean the same for inputs of any scale. Where there
    are no bounds, the change itself is optimised, in units of the weights.
    """

    name: ClassVar[str] = "cw"
    access: ClassVar[Access] = Access.GRADIENT
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.L2})
    minimum_norm: ClassVar[bool] = True

    steps: int = 1000
    search: int = 200
    initial: float = 0.1
    rate: float = 0.05
    kappa: float = 0.0
    early: bool = True
    inset: float = 0.01

    def __post_init__(self) -> None:
        if self.search < 1:
            raise UsageError(f"cw: search is at least 1, got {self.search}.")
        for name in ("initial", "rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"cw: {name} is a finite number above 0, got {getattr(self, name)}.")
        if not 0 <= self.kappa < float("inf"):
            raise UsageError(f"cw: kappa is a finite number of at least 0, got {self.kappa}.")
        if not 0 < self.inset < 1:
            raise UsageError(f"cw: inset is between 0 and 1, got {self.inset}.")

    def start(self, problem: Problem) -> CWRows:
        far = torch.full_like(problem.epsilon, float("inf"))
        zero, no = torch.zeros_like(problem.inputs), torch.zeros_like(problem.ages, dtype=torch.bool)
        return CWRows(
            x=problem.project(problem.inputs),
            variable=self._centre(problem).atanh(),
            mean=zero,
            square=zero,
            turns=torch.zeros_like(problem.ages),
            c=torch.full_like(far, self.initial),
            low=torch.zeros_like(far),
            high=torch.full_like(far, MOST),
            reached=no,
            checked=far,
            best=problem.inputs,
            best_size=far,
        )

    def query(self, problem: Problem, rows: CWRows) -> Query:
        points = self._point(problem, rows.variable)
        return Query(points=points, probes=~problem.contains(points))

    def objective(self, scores: Tensor, problem: Problem, rows: CWRows) -> Tensor:
        return -(self._gap(problem, scores) + self.kappa).clamp_min(0)

    def step(self, problem: Problem, rows: CWRows, reply: Reply) -> CWRows:
        scores, size = reply.need_scores(), problem.size(reply.points)
        nearer = (problem.margin(scores) < 0) & (size < rows.best_size)
        best = torch.where(problem.wide(nearer), reply.points, rows.best)
        best_size = torch.where(nearer, size, rows.best_size)
        gap = self._gap(problem, scores)
        reached = rows.reached | ((gap < 0) & (gap <= -self.kappa))

        loss = (size / width(problem)).square() - rows.c * reply.need_loss()
        slope = (
            2 * (reply.points - problem.inputs) / unit(problem).square() - problem.wide(rows.c) * reply.need_gradient()
        )
        slope = slope * self._rate_of_change(problem, rows.variable)
        mean, square, move, scale = moments(rows.mean, rows.square, slope, rows.turns)
        turns = rows.turns + 1
        look = rows.turns % max(self.search // CHECKS, 1) == 0
        stalled = look & ~(loss <= STALLED * rows.checked)
        going = replace(
            rows,
            x=problem.project(best),
            variable=rows.variable - self.rate * move / scale,
            mean=mean,
            square=square,
            turns=turns,
            reached=reached,
            checked=torch.where(look, loss, rows.checked),
            best=best,
            best_size=best_size,
        )
        over = (turns >= self.search) | (stalled & self.early)
        return choose(over, self._again(problem, going, over), going) if bool(over.any()) else going

    def _gap(self, problem: Problem, scores: Tensor) -> Tensor:
        """The margin towards the class that the row goes for."""
        return margin(scores, problem.labels, aims(problem))

    def _again(self, problem: Problem, rows: CWRows, over: Tensor) -> CWRows:
        """Rows that begin their next search, with the c that follows from how the last one ended."""
        zero = torch.zeros_like(rows.mean)
        high = torch.where(rows.reached, torch.minimum(rows.high, rows.c), rows.high)
        low = torch.where(rows.reached, rows.low, torch.maximum(rows.low, rows.c))
        return replace(
            rows,
            variable=self._restart(problem, rows, over & (problem.restarts > 0)),
            mean=zero,
            square=zero,
            turns=torch.zeros_like(rows.turns),
            c=torch.where(high < MOST, (low + high) / 2, (10 * rows.c).clamp_max(MOST)),
            low=low,
            high=high,
            reached=torch.zeros_like(rows.reached),
            checked=torch.full_like(rows.checked, float("inf")),
        )

    def _restart(self, problem: Problem, rows: CWRows, wander: Tensor) -> Tensor:
        """The variable that a search starts from: of the clean input, or of a random point where it wanders."""
        share = self._centre(problem)
        centre = share.atanh()
        if not bool(wander.any()):
            return centre
        direction = problem.draws.normal(*problem.inputs.shape[1:], dtype=problem.inputs.dtype)
        size = torch.where(wander & rows.best_size.isfinite(), rows.best_size / width(problem), 0)
        shift = direction * problem.wide(size / direction.flatten(1).norm(dim=1).clamp_min(1e-12))
        half = _half(problem)
        bounded = share + shift * unit(problem) / torch.where(half > 0, half, 1)
        bounded = bounded.clamp(self.inset - 1, 1 - self.inset).atanh()
        start = torch.where(half.isfinite(), bounded, shift)
        return torch.where(problem.wide(wander), start, centre)

    def _centre(self, problem: Problem) -> Tensor:
        """The tanh of the variable of the clean input: its place between the bounds, -1 to 1, a little within them."""
        half = _half(problem)
        share = (problem.inputs - problem.lower) / torch.where(half > 0, half, 1) - 1
        share = ((1 - self.inset) * share).clamp(self.inset - 1, 1 - self.inset)
        return torch.where(half.isfinite() & (half > 0), share, 0)

    def _point(self, problem: Problem, variable: Tensor) -> Tensor:
        half = _half(problem)
        moved = torch.where(half.isfinite(), half * (variable.tanh() - self._centre(problem)), 0)
        change = torch.where(half.isfinite(), moved, unit(problem) * variable)
        return (problem.inputs + change).clamp(problem.lower, problem.upper)

    def _rate_of_change(self, problem: Problem, variable: Tensor) -> Tensor:
        """Of the point with the variable."""
        half = _half(problem)
        return torch.where(half.isfinite(), half * (1 - variable.tanh().square()), unit(problem))


def _half(problem: Problem) -> Tensor:
    """Half the width of each feature's bounds, infinite where it has none."""
    return (problem.upper - problem.lower) / 2


@hookimpl
def register_attacks(register: Register) -> None:
    register(CW)
