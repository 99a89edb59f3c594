"""The boundary attack. Brendel, Rauber, Bethge, https://arxiv.org/abs/1712.04248"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from auditor.access import Access
from auditor.attack import Attack, Query, Reply, take
from auditor.errors import UsageError
from auditor.halving import (
    Columns,
    EdgeRows,
    begun,
    between,
    directions,
    halved,
    merged,
    middle,
    proposed,
    reached,
    sought,
    start_points,
)
from auditor.hookspecs import Register, hookimpl
from auditor.hyperplane import scale_of
from auditor.problem import Problem
from auditor.threat import Norm

SEEK, HALVE, WALK = range(3)
ROUNDING = 1e-6
"""Share of a size by which a step across may seem to lead outwards."""
PRECISE = 1e-3
"""Share of a size that the first halving may be off by."""
EVERY = 4
"""One query in so many asks about the step across alone, to learn how long it may be."""
PACE = 1.1
"""By how much a length changes after an answer: across, as many have to succeed as fail."""
INWARDS = 3.0
"""How many fail for each that succeeds, of steps that go inwards as well: one in four does."""
LONGEST = 0.5
"""Bound of both lengths, as a share of the size."""


@dataclass(frozen=True, kw_only=True)
class WalkRows(EdgeRows):
    """across, inward: lengths of the two parts of a step, as shares of the size. turn: number of the step."""

    across: Tensor
    inward: Tensor
    turn: Tensor


@dataclass(frozen=True, kw_only=True)
class Walk(Attack):
    """Walk along the boundary by labels alone: a random step across at equal distance, then a short one inwards.

    It begins at the best point that anything has found so far, walked outwards along the line where it is not
    adversarial yet, and only without one at a random point. Choose it after gradients or a transfer, as a second
    opinion that uses neither gradients nor scores: where it gets below what they found, they have been misled. A
    minimum-norm attack, done with an epsilon as soon as a point within is adversarial. Costs `steps` queries and one at
    the end. In linf, where a small step of all features leads away from the corners that are wanted, a step across
    moves some features to a random side of the ball, all the way.

    steps: queries of a row. across, inward: lengths of the first step's parts, as shares of the distance (in linf
    across is the share of features); both adapt to how many steps hold. warm: begin at the best point; random starts
    otherwise.
    """

    name: ClassVar[str] = "walk"
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[frozenset[Norm]] = frozenset({Norm.LINF, Norm.L2})
    minimum_norm: ClassVar[bool] = True

    steps: int = 2000
    across: float = 0.1
    inward: float = 0.05
    warm: bool = True

    def __post_init__(self) -> None:
        for name in ("across", "inward"):
            if not 0 < getattr(self, name) <= LONGEST:
                raise UsageError(f"walk: {name} is above 0 and at most {LONGEST}, got {getattr(self, name)}.")

    def cost(self, classes: int) -> tuple[int, int]:
        return self.steps + 1, 0

    def start(self, problem: Problem) -> WalkRows:
        one, none = torch.ones_like(problem.epsilon), torch.zeros_like(problem.ages)
        return WalkRows(**begun(problem, warm=self.warm), across=self.across * one, inward=self.inward * one, turn=none)

    def query(self, problem: Problem, rows: WalkRows) -> Query:
        points = between(problem, rows.edge, middle(problem, rows.low, rows.high))
        walks, seeks = rows.phase == WALK, rows.phase == SEEK
        if bool(walks.all()):
            points = self._step(problem, rows)
        elif bool(walks.any()):  # problems of their own, so that a row's draws don't hang on what others do
            index = walks.nonzero()[:, 0]
            points = points.index_copy(0, index, self._step(problem.take(index), take(rows, index)))
        if bool(seeks.any()):
            index = seeks.nonzero()[:, 0]
            started = start_points(problem.take(index), rows.towards[index], rows.tries[index])
            points = points.index_copy(0, index, started)
        points, probes = proposed(problem, points)
        return Query(points=points, probes=probes, gradient=False)

    def step(self, problem: Problem, rows: WalkRows, reply: Reply) -> WalkRows:
        hit, points = reached(problem, reply), reply.points
        size = problem.size(points)
        columns = merged(rows, rows.phase == SEEK, sought(rows, size, hit, HALVE))
        columns |= merged(replace(rows, **columns), rows.phase == HALVE, halved(problem, rows, hit, PRECISE, WALK))
        kept = hit & ((rows.phase != WALK) | (size <= rows.high * (1 + ROUNDING)))
        columns |= merged(replace(rows, **columns), rows.phase == WALK, self._walked(rows, size, hit, kept))
        edge = torch.where(problem.wide(kept), points, rows.edge)
        moved = replace(rows, **columns, edge=edge)
        return replace(moved, x=problem.project(edge)) if bool((problem.ages >= self.steps - 1).any()) else moved

    def _step(self, problem: Problem, rows: WalkRows) -> Tensor:
        """A step across, at the same distance from the input, and where it is no mere test one inwards from there."""
        scale = scale_of(problem)
        change = torch.where(scale > 0, (rows.edge - problem.inputs) / scale, 0)
        size = problem.wide(rows.high * torch.where(self._tests(rows), 1, 1 - rows.inward))
        if problem.norm is Norm.LINF:
            moved = _flung(problem, change, rows).clamp(-size, size)
        else:
            moved = _turned(problem, change, rows)
            moved = moved * (size / problem.wide(moved.flatten(1).norm(dim=1)))
        return problem.inputs + moved * scale

    def _tests(self, rows: WalkRows) -> Tensor:
        """Which steps only go across, bool `[batch]`."""
        tests: Tensor = rows.turn % EVERY == EVERY - 1
        return tests

    def _walked(self, rows: WalkRows, size: Tensor, hit: Tensor, kept: Tensor) -> Columns:
        """The lengths after an answer: of the step across after a test, of the step inwards after a whole one."""
        tests = self._tests(rows)
        across = (rows.across * torch.where(hit, PACE, 1 / PACE)).clamp_max(LONGEST)
        inward = (rows.inward * torch.where(hit, PACE**INWARDS, 1 / PACE)).clamp_max(LONGEST)
        return {
            "high": torch.where(kept, torch.minimum(size, rows.high), rows.high),
            "across": torch.where(tests, across, rows.across),
            "inward": torch.where(tests, rows.inward, inward),
            "turn": rows.turn + 1,
        }


def _turned(problem: Problem, change: Tensor, rows: WalkRows) -> Tensor:
    """A change with a random one at right angles added, as long as `across` says."""
    flat, noise = change.flatten(1), directions(problem, 1).flatten(1)
    tiny = torch.finfo(flat.dtype).tiny
    length = flat.norm(dim=1, keepdim=True).clamp_min(tiny)
    noise = noise - (noise * flat).sum(dim=1, keepdim=True) / length.square() * flat
    noise = noise / noise.norm(dim=1, keepdim=True).clamp_min(tiny)
    turned: Tensor = flat + rows.across[:, None] * length * noise
    return turned.reshape(change.shape)


def _flung(problem: Problem, change: Tensor, rows: WalkRows) -> Tensor:
    """A change with some features, one at least, at a random side of the linf ball of its size."""
    drawn = problem.draws.uniform(*change.shape[1:], dtype=change.dtype)
    chosen = drawn <= problem.wide(torch.maximum(rows.across, drawn.flatten(1).amin(dim=1)))
    up = (drawn * 2**24).remainder(2) == 0  # the last bit of the number, which the choice does not hang on
    side = torch.where(up, 1.0, -1.0).to(change.dtype) * problem.wide(rows.high)
    return torch.where(chosen, side, change)


@hookimpl
def register_attacks(register: Register) -> None:
    register(Walk)
